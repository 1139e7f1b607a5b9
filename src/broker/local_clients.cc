#include "broker/local_clients.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <utility>

#include "base/log.h"
#include "base/status_text.h"
#include "broker/words.h"
#include "net/peer.h"
#include "net/process.h"
#include "net/socket_state.h"

namespace berth::broker {
namespace {

constexpr uint64_t kOnlyRequest = 1;
// Of TCP, whose users are not known: no uid is this number (chown(2)).
constexpr uint32_t kNobody = UINT32_MAX;

}  // namespace

// --- one of them ---

class LocalClients::Client final : public Recipient {
 public:
  Client(LocalClients& clients, uint64_t number, UniqueFd fd, const ListenPoint& point,
         const pool::SessionInfo& info)
      : clients_(clients),
        number_(number),
        fd_(std::move(fd)),
        point_(point),
        uid_(info.uid),
        id_(driver().open_session(info, *this)) {}

  ~Client() {
    stop_watching();
    driver().end_session(id_);
    clients_.admission_.leave(uid_);
    if (fd_.valid()) driver().release_slots(kSlots);
  }

  void start(bool lazy) {
    if (!lazy) return ask();
    if (!watch(EPOLLIN)) end();
  }

  void ready(uint32_t events) {
    // What it has said before it left is for the server all the same.
    if (!net::has_unread(fd_.get())) return end();
    const bool left = (events & EPOLLHUP) != 0;
    if (left) stop_watching();
    if (!asked_) ask(left);
  }

  void end() {
    if (std::exchange(over_, true)) return;
    stop_watching();
    clients_.over_.push_back(number_);
  }

  SessionId id() const { return id_; }
  const ListenPoint& point() const { return point_; }

  // --- Recipient ---
  UniqueFd own_end() override {
    stop_watching();
    return std::move(fd_);
  }

  bool take(const pool::Grant& grant, std::span<const int>) override {
    lease_ = grant.leases.front().lease;
    return true;
  }

  void put_off(const pool::Grant&) override {}  // its end needs no descriptor

  void refused(uint64_t request_id, const pool::Refusal& refusal) override {
    if (!over_) clients_.note(info(), point_, explain(request_id, refusal, uid_).message);
    end();
  }

  void revoked(LeaseId, pool::Revoke::Cause cause) override {
    clients_.note(info(), point_, explain(cause));
    end();
  }

  void program_gone(LeaseId lease) override {
    const pool::Lease* held = driver().depot().lease(lease);
    const bool resets = !driver().depot().pool(held->connection->pool).policy().reset.empty();
    driver().release(id_, lease, resets ? Outcome::kReuse : Outcome::kDiscard);
    end();
  }

 private:
  PoolDriver& driver() { return clients_.driver_; }
  const pool::SessionInfo& info() { return driver().depot().session(id_)->info; }

  // The pool may have left since, and another have its key.
  void ask(bool left = false) {
    asked_ = true;
    const auto pool = driver().depot().find_pool(point_.key);
    if (!pool) return end();
    if (!left && !watch(0)) return end();
    const Duration patience = driver().depot().pool(*pool).policy().acquire_timeout;
    driver().request(id_, *pool, {kOnlyRequest, 1, patience});
  }

  // A hang-up is always told.
  bool watch(uint32_t events) {
    const bool good = watched_ ? clients_.watch_.modify(fd_.get(), events, number_)
                               : clients_.watch_.add(fd_.get(), events, number_);
    watched_ = watched_ || good;
    return good;
  }

  void stop_watching() {
    if (std::exchange(watched_, false)) clients_.watch_.remove(fd_.get());
  }

  LocalClients& clients_;
  const uint64_t number_;
  UniqueFd fd_;  // until it is carried
  const ListenPoint point_;
  const uint32_t uid_;
  const SessionId id_;
  LeaseId lease_;
  bool watched_ = false;
  bool asked_ = false;
  bool over_ = false;
};

// --- all of them ---

LocalClients::LocalClients(loop::Loop& loop, PoolDriver& driver, Admission& admission,
                           uint64_t own_netns)
    : loop_(loop),
      driver_(driver),
      admission_(admission),
      own_netns_(own_netns),
      watch_(loop, [this](uint64_t number, uint32_t events) { ready(number, events); }) {}

LocalClients::~LocalClients() {
  clients_.clear();
}

void LocalClients::admit(UniqueFd fd, const ListenPoint& point) {
  absl::StatusOr<pool::SessionInfo> who = identify(fd.get(), point);
  std::string why;
  if (!who.ok()) {
    why = text_of(who.status());
    who = pool::SessionInfo{};
  } else {
    why = admission_.refusal_of(who->uid);
  }
  if (!why.empty()) {
    note(*who, point, why);
    fd.reset();
    return driver_.release_slots(kSlots);
  }
  const auto pool = driver_.depot().find_pool(point.key);
  const bool lazy = pool && driver_.depot().pool(*pool).policy().lazy;
  const uint64_t number = admission_.enter(who->uid);
  auto& client = clients_[number];
  client = std::make_unique<Client>(*this, number, std::move(fd), point, *who);
  client->start(lazy);
}

absl::StatusOr<pool::SessionInfo> LocalClients::identify(int fd, const ListenPoint& point) const {
  pool::SessionInfo info;
  info.unmodified = true;
  info.socket = point.number;
  if (point.tcp) {
    info.anonymous = true;
    info.uid = kNobody;
    info.gid = kNobody;
    return info;
  }
  absl::StatusOr<net::PeerIdentity> peer = net::identify_caller(fd);
  if (!peer.ok()) return peer.status();
  info.uid = peer->uid;
  info.gid = peer->gid;
  info.pid = peer->pid;
  info.groups = std::move(peer->groups);
  info.foreign_netns = peer->netns_cookie != own_netns_;
  return info;
}

void LocalClients::ready(uint64_t number, uint32_t events) {
  const auto at = clients_.find(number);
  if (at != clients_.end()) at->second->ready(events);
}

// It has no other way to learn of it.
void LocalClients::note(const pool::SessionInfo& who, const ListenPoint& point,
                        std::string_view why) {
  const auto left_out = denials_.may_log(loop_.now(), who.uid);
  if (!left_out) return;
  const std::string program =
      who.anonymous ? "a program"
                    : fmt::format("pid {} {} (uid {})", who.pid, net::command_of(who.pid), who.uid);
  log().warn("pool {}: closes {} at {}: {:?}{}", point.key, program, point.address, why, *left_out);
}

void LocalClients::reap() {
  while (!over_.empty()) {
    for (const uint64_t number : std::exchange(over_, {})) {
      const auto at = clients_.find(number);
      const std::unique_ptr<Client> client = std::move(at->second);
      clients_.erase(at);
    }
  }
}

void LocalClients::end_all() {
  for (const auto& [number, client] : clients_) client->end();
  reap();
}

bool LocalClients::kill(SessionId id) {
  for (const auto& [number, client] : clients_) {
    if (client->id() != id) continue;
    client->end();
    return true;
  }
  return false;
}

void LocalClients::for_each(const Visit& visit) const {
  for (const auto& [number, client] : clients_) {
    visit(number, client->id(), client->point().address);
  }
}

}  // namespace berth::broker
