#include "broker/relays.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace berth::broker {
namespace {

constexpr net::Relay::Side kBoth[] = {net::Relay::Side::program, net::Relay::Side::server};

// Of what a program has said last, at a time: a megabyte, so that this, too, delays nobody.
constexpr int kMaxReadsAtEnd = 16;

// HUP and errors are always told. Of a program its end is, too; a server's end is read in turn.
constexpr uint32_t kAlwaysOfProgram = EPOLLHUP;

}  // namespace

Relays::Relays(loop::Loop& loop, Gone gone, std::function<bool(uint32_t)> reserve)
    : gone_(std::move(gone)),
      reserve_(std::move(reserve)),
      watch_(loop, [this](uint64_t tag, uint32_t events) { ready(tag, events); }) {}

void Relays::begin(ConnectionId id, UniqueFd program, net::Stream server, OnEnd on_end) {
  const int fd = program.get();
  const uint64_t number = ++numbers_;
  std::unique_ptr<Carried> carried(
      new Carried{id, number, std::move(program), server.fd, on_end, net::Relay(fd, server, this)});
  by_number_[number] = carried.get();
  const bool added = by_id_.emplace(id, std::move(carried)).second;
  BERTH_CHECK(added, "a connection has one relay");
  if (!watch(*by_number_[number])) give_up(*by_number_[number]);
}

net::Pipe Relays::borrow() {
  if (!reserve_(net::Pipe::kDescriptors)) return {};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    freed_slots_ += net::Pipe::kDescriptors;
    return {};
  }
  net::Pipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  // Refused to a user who has many: then it holds what it holds.
  (void)fcntl(pipe.in.get(), F_SETPIPE_SZ, static_cast<int>(net::kPipeBytes));
  return pipe;
}

void Relays::give_back(net::Pipe) {
  freed_slots_ += net::Pipe::kDescriptors;
}

void Relays::ready(uint64_t tag, uint32_t events) {
  const auto at = by_number_.find(tag / 2);
  if (at == by_number_.end()) return;
  Carried& carried = *at->second;
  const Side side = kBoth[tag % 2];
  const Side other = kBoth[1 - tag % 2];
  carried.relay.move(side, *scratch_);
  if (!carried.relay.drained(other)) carried.relay.move(other, *scratch_);
  pass_on_ends(carried);
  // It may be gone before all that it said could be read.
  const bool hung_up = side == Side::program && (events & EPOLLHUP) != 0;
  if (hung_up || program_gone(carried)) {
    stop_watching(carried);
    gone_(carried.id);
  } else if (!watch(carried)) {
    give_up(carried);
  }
}

// What the program has said before is sent on by drain().
bool Relays::program_gone(const Carried& carried) {
  const net::Relay& relay = carried.relay;
  if (!relay.ended(Side::program) && !relay.passed_on(Side::server)) return false;
  const bool unsure = carried.on_end == OnEnd::gone && relay.ended(Side::program);
  if (unsure && !net::tells_half_close(carried.program.get())) return true;
  return net::hold_of(carried.program.get()) == net::Hold::closed;
}

void Relays::pass_on_ends(Carried& carried) {
  net::Relay& relay = carried.relay;
  for (const Side side : kBoth) {
    if (!relay.ended(side) || !relay.drained(side) || relay.passed_on(side)) continue;
    if (side == Side::program && program_gone(carried)) continue;
    relay.pass_on(side);
  }
}

bool Relays::watch(Carried& carried) {
  return watch(carried, Side::program, carried.relay.wanted(Side::program) | kAlwaysOfProgram) &&
         watch(carried, Side::server, carried.relay.wanted(Side::server));
}

bool Relays::watch(Carried& carried, Side side, uint32_t events) {
  uint32_t& watched = carried.watched[static_cast<size_t>(side)];
  if (watched == events) return true;
  const uint64_t tag = carried.number * 2 + static_cast<uint64_t>(side);
  const int fd = carried.fd(side);
  if (events == 0) {
    watch_.remove(fd);
  } else if (watched == 0 ? !watch_.add(fd, events, tag) : !watch_.modify(fd, events, tag)) {
    return false;
  }
  watched = events;
  return true;
}

void Relays::stop_watching(Carried& carried) {
  for (const Side side : kBoth) {
    if (std::exchange(carried.watched[static_cast<size_t>(side)], 0) != 0) {
      watch_.remove(carried.fd(side));
    }
  }
}

// The kernel watches no more descriptors (fs.epoll.max_user_watches).
void Relays::give_up(Carried& carried) {
  log().error("a lease cannot be carried on: epoll_ctl: {}", std::strerror(errno));
  stop_watching(carried);
  carried.spoiled = true;
  shutdown(carried.program.get(), SHUT_RDWR);
  gone_(carried.id);
}

Relays::Drained Relays::drain(ConnectionId id) {
  Carried* carried = find(id);
  if (carried == nullptr) return Drained::clean;
  net::Relay& relay = carried->relay;
  if (!std::exchange(carried->given_back, true)) {
    stop_watching(*carried);
    shutdown(carried->program.get(), SHUT_RD);  // what it has said before is still there
  }
  bool more = true;
  for (int reads = 0; more && reads < kMaxReadsAtEnd; ++reads) {
    more = relay.move(Side::program, *scratch_);
  }
  if (more || (!relay.drained(Side::program) && !relay.failed(Side::program))) {
    return Drained::pending;
  }
  const bool read_all =
      relay.drained(Side::server) && !net::has_unread_by_peer(carried->program.get());
  const bool clean = read_all && !relay.failed(Side::program) && !carried->spoiled;
  forget(id);
  return clean ? Drained::clean : Drained::dirty;
}

void Relays::spoil(ConnectionId id) {
  if (Carried* carried = find(id)) carried->spoiled = true;
}

void Relays::end(ConnectionId id) {
  if (carries(id) && drain(id) == Drained::pending) forget(id);
}

Relays::Carried* Relays::find(ConnectionId id) const {
  const auto at = by_id_.find(id);
  return at != by_id_.end() ? at->second.get() : nullptr;
}

void Relays::forget(ConnectionId id) {
  const auto at = by_id_.find(id);
  stop_watching(*at->second);
  by_number_.erase(at->second->number);
  by_id_.erase(at);
  ++freed_slots_;
}

}  // namespace berth::broker
