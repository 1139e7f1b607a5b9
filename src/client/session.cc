#include "session.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/poll_one.h"

namespace berth::client {
namespace {

using namespace std::chrono_literals;

constexpr auto kOpenTimeout = 5s;
// What berthd may take beyond a request's own timeout before the request is cancelled, and again
// before it is given up: far more than a busy machine needs, far less than a person waits.
constexpr auto kGrace = 1s;

bool is_gone(int error) {
  return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

Deadline guard(std::optional<uint64_t> timeout_ms) {
  constexpr uint64_t kLongest = uint64_t{1} << 40;  // 34 years; more would overflow the clock
  if (!timeout_ms || *timeout_ms > kLongest) return kNoDeadline;
  return Clock::now() + std::chrono::milliseconds(*timeout_ms) + kGrace;
}

std::string encoded(const wire::ClientFrame& frame) {
  std::string bytes;
  wire::encode(frame, bytes);
  return bytes;
}

void close_grant(berth_grant& grant) {
  if (grant.fd >= 0) ::close(grant.fd);
  grant = {0, -1, 0};
}

Failure no_lease() {
  return invalid("the grant holds no lease; was it released already, or detached?");
}

Failure not_held(uint64_t lease_id) {
  return refused(Code::kNoSuchLease, "this session does not hold lease " +
                                         std::to_string(lease_id) + "; was it released already?");
}

// berthd's first word.
std::variant<wire::Welcome, Failure> read_welcome(int fd, Deadline deadline, Packet& packet,
                                                  const std::string& path) {
  const std::string berthd = "berthd at " + path;
  switch (receive(fd, deadline, packet)) {
    case Arrival::nothing: return failed(ETIMEDOUT, berthd + " did not answer within 5 s");
    case Arrival::end: return failed(ECONNRESET, berthd + " closed the session without a word");
    case Arrival::packet: break;
  }
  auto decoded = wire::decode_server_frame(packet.text());
  if (const auto* error = std::get_if<wire::DecodeError>(&decoded)) {
    return failed(EPROTO, berthd + " sent no welcome: " + error->message);
  }
  auto& frame = std::get<wire::ServerFrame>(decoded);
  if (auto* goodbye = std::get_if<wire::Goodbye>(&frame)) {
    return refused(goodbye->code, berthd + " refused the session: " + goodbye->message);
  }
  auto* welcome = std::get_if<wire::Welcome>(&frame);
  if (welcome == nullptr) return failed(EPROTO, berthd + " sent another frame before its welcome");
  if (welcome->version == 0 || welcome->version > wire::kSessionVersion) {
    return refused(Code::kVersion, berthd + " chose version " + std::to_string(welcome->version) +
                                       "; this library speaks version 1");
  }
  return std::move(*welcome);
}

}  // namespace

std::variant<std::unique_ptr<Session>, Failure> Session::open(const char* path,
                                                              std::string_view name) {
  const Deadline deadline = Clock::now() + kOpenTimeout;
  const std::string where = socket_path(path);
  auto connected = connect(where, deadline);
  if (auto* failure = std::get_if<Failure>(&connected)) return std::move(*failure);
  UniqueFd& socket = std::get<UniqueFd>(connected);
  // A failure to send shows in what comes back: Goodbye, or the end.
  send(socket.get(), encoded(wire::Hello{wire::kSessionVersion, std::string(name)}), deadline);
  Packet packet;
  auto welcome = read_welcome(socket.get(), deadline, packet, where);
  if (auto* failure = std::get_if<Failure>(&welcome)) return std::move(*failure);
  return std::make_unique<Session>(std::move(socket), std::move(std::get<wire::Welcome>(welcome)),
                                   std::move(packet));
}

Session::Session(UniqueFd socket, wire::Welcome welcome, Packet packet)
    : socket_(std::move(socket)),
      welcome_(std::move(welcome)),
      opener_(::getpid()),
      packet_(std::move(packet)) {}

// A child may hold a copy of the socket, so that a close alone would not end the session.
Session::~Session() {
  ::shutdown(fd(), SHUT_RDWR);
}

void Session::close(Session* session) {
  if (session->refuse_other_process()) {
    // Another thread of the parent may have been changing the tables when the process forked, so
    // they cannot even be freed.
    ::close(session->fd());
  } else {
    delete session;
  }
}

Session::Result Session::refuse_other_process() const {
  if (::getpid() == opener_) return {};
  return failed(EPERM, "the session belongs to process " + std::to_string(opener_) +
                           ", which opened it before a fork; open another in this process");
}

// Needs the lock.
template <class Message>
Session::Asked Session::ask(Message message, Request request) {
  Asked asked;
  asked.id = message.request_id = next_request_id_++;
  asked.frame = encoded(std::move(message));
  requests_.emplace(asked.id, request);
  return asked;
}

Session::Result Session::lease(wire::LeaseRequest request, berth_grant* out) {
  if (Result refusal = refuse_other_process()) return refusal;
  Call call;
  call.grants = out;
  const Deadline deadline = guard(request.timeout_ms);
  const uint32_t count = request.count;
  const bool detach = request.detach;
  Lock lock(mutex_);
  if (ended_) return ended_;
  return transact(lock, ask(std::move(request), {Form::waited, count, detach, &call}), call,
                  deadline);
}

std::variant<wire::KeyList, Failure> Session::keys(std::string_view after) {
  if (Result refusal = refuse_other_process()) return *refusal;
  wire::KeyList list;
  Call call;
  call.keys = &list;
  Lock lock(mutex_);
  if (ended_) return *ended_;
  const Asked asked = ask(wire::ListKeys{0, std::string(after)}, {Form::waited, 0, false, &call});
  if (Result failure = transact(lock, asked, call, Clock::now() + kOpenTimeout)) return *failure;
  return list;
}

Session::Result Session::transact(Lock& lock, const Asked& asked, Call& call, Deadline deadline) {
  lock.unlock();
  const int error = send(fd(), asked.frame, deadline);
  lock.lock();
  // If the peer is gone, reading tells why.
  if (error != 0 && !is_gone(error) && !call.answered) {
    requests_.erase(asked.id);
    if (error == EAGAIN) return failed(ETIMEDOUT, "berthd does not read its socket");
    return failed(error, with_reason("cannot send to berthd", error));
  }
  if (await(lock, call, deadline)) return std::move(call.failure);
  return give_up(lock, asked.id, call);
}

// berthd should have answered by now. Withdraws the request; what comes for it after that is
// given back untouched.
Session::Result Session::give_up(Lock& lock, uint64_t id, Call& call) {
  struct Abandon {
    std::unordered_map<uint64_t, Request>& requests;
    uint64_t id;
    ~Abandon() {
      if (const auto it = requests.find(id); it != requests.end()) it->second = Request{};
    }
  } abandon{requests_, id};
  const Deadline deadline = Clock::now() + kGrace;
  const std::string frame = encoded(wire::Cancel{id});
  lock.unlock();
  send(fd(), frame, deadline);
  lock.lock();
  if (await(lock, call, deadline)) {
    const bool cancelled = call.failure && call.failure->code == Code::kCancelled;
    if (!cancelled) return std::move(call.failure);
  }
  return failed(ETIMEDOUT, "berthd did not answer in time; the request is withdrawn");
}

// Needs the lock.
std::optional<Session::Lease> Session::take_lease(uint64_t id) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return std::nullopt;
  Lease lease = std::move(it->second);
  leases_.erase(it);
  if (lease.revoked) {
    std::erase_if(events_, [&](const Event& event) { return event.lease_id == id; });
  }
  return lease;
}

Session::Result Session::release(berth_grant& grant, wire::Outcome outcome) {
  if (Result refusal = refuse_other_process()) return refusal;
  if (grant.id == 0) return no_lease();
  const std::string frame = encoded(wire::Release{grant.id, outcome, 0});
  Lock lock(mutex_);
  const std::optional<Lease> lease = take_lease(grant.id);
  if (!lease) return not_held(grant.id);
  Result over = lease->revoked ? lease->revoked : ended_;
  lock.unlock();
  close_grant(grant);
  if (over) return over;
  const int error = send(fd(), frame, kNoDeadline);
  return error == 0 ? Result{} : after_failed_release(error);
}

Session::Result Session::after_failed_release(int error) {
  if (!is_gone(error)) {
    return failed(error,
                  with_reason("cannot send to berthd; the lease ends with the session", error));
  }
  Lock lock(mutex_);
  while (!ended_ && !reading_ && read_once(lock, kAtOnce) == Arrival::packet) continue;
  pass_on_reading();
  return ended_ ? ended_ : failed(ECONNRESET, "berthd is gone");
}

std::variant<uint64_t, Failure> Session::send_at_once(const Asked& asked) {
  const int error = send(fd(), asked.frame, kAtOnce);
  if (error == 0 || is_gone(error)) return asked.id;  // next_event() tells the end
  requests_.erase(asked.id);
  return failed(error, with_reason("berthd is behind in reading", error));
}

std::variant<uint64_t, Failure> Session::submit(wire::LeaseRequest request) {
  if (Result refusal = refuse_other_process()) return *refusal;
  const Lock lock(mutex_);
  if (ended_) return *ended_;
  keep_events();
  const uint32_t count = request.count;
  const bool detach = request.detach;
  return send_at_once(ask(std::move(request), {Form::submitted, count, detach, nullptr}));
}

std::variant<uint64_t, Failure> Session::submit_release(berth_grant& grant, wire::Outcome outcome) {
  if (Result refusal = refuse_other_process()) return *refusal;
  if (grant.id == 0) return no_lease();
  // The descriptor must be closed before the frame goes out, so make sure first that it can.
  if (poll_one(fd(), POLLOUT) == 0) return failed(EAGAIN, "berthd is behind in reading");
  Lock lock(mutex_);
  keep_events();
  if (!leases_.contains(grant.id)) return not_held(grant.id);
  const Asked asked =
      ask(wire::Release{grant.id, outcome, 0}, {Form::submitted_release, 0, false, nullptr});
  const std::optional<Lease> lease = take_lease(grant.id);
  close_grant(grant);
  const Result& over = lease->revoked ? lease->revoked : ended_;
  if (over) {
    requests_.erase(asked.id);
    return *over;
  }
  lock.unlock();
  send(fd(), asked.frame, kNoDeadline);  // waits only if another thread took the room
  return asked.id;
}

Session::Result Session::cancel(uint64_t request_id) {
  if (Result refusal = refuse_other_process()) return refusal;
  const Lock lock(mutex_);
  const auto it = requests_.find(request_id);
  if (it == requests_.end() || it->second.form != Form::submitted) {
    return refused(Code::kNoSuchLease, "request " + std::to_string(request_id) +
                                           " is not under way; its event is there");
  }
  const int error = send(fd(), encoded(wire::Cancel{request_id}), kAtOnce);
  if (error == 0 || is_gone(error)) return {};
  return failed(error, with_reason("berthd is behind in reading", error));
}

std::variant<std::optional<Event>, Failure> Session::next_event() {
  if (Result refusal = refuse_other_process()) return *refusal;
  Lock lock(mutex_);
  keep_events();
  while (events_.empty() && !ended_ && !reading_) {
    if (read_once(lock, kAtOnce) == Arrival::nothing) break;
  }
  pass_on_reading();
  if (std::optional<Event> event = take_event()) return event;
  if (ended_) return *ended_;
  return std::nullopt;
}

// The next of those that arrived; after the session's end, of those that it leaves behind.
std::optional<Event> Session::take_event() {
  if (!events_.empty()) {
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  if (!ended_ || end_fetched_) return std::nullopt;
  Event event;
  event.failure = ended_;
  const auto it = requests_.begin();
  if (it == requests_.end()) {
    end_fetched_ = true;
    return event;
  }
  const bool release = it->second.form == Form::submitted_release;
  event.kind = release ? BERTH_EVENT_RELEASED : BERTH_EVENT_REFUSED;
  event.request_id = it->first;
  requests_.erase(it);
  return event;
}

}  // namespace berth::client
