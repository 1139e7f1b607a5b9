#include "broker/dialogues.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace berth::broker {
namespace {

// What is read at a time; a server that says more is heard in the next turn.
constexpr size_t kReadBytes = 4096;

}  // namespace

const char* name_of(Talk talk) {
  switch (talk) {
    case Talk::proxy: return "proxy";
    case Talk::greeting: return "greeting";
    case Talk::login: return "login";
    case Talk::reset: return "reset";
    case Talk::relogin: return "login after reset";
    case Talk::check: return "check";
  }
  return "";
}

Dialogues::Dialogues(loop::Loop& loop, Callback callback)
    : loop_(loop),
      callback_(std::move(callback)),
      timer_(loop, [this] { expire(); }),
      watch_(loop, [this](uint64_t tag, uint32_t events) {
        ready(ConnectionId::from_value(tag), events);
      }) {}

void Dialogues::begin(ConnectionId id, Talk talk, int fd, std::unique_ptr<wire::Exchange> exchange,
                      TimePoint until) {
  Dialogue dialogue{talk, fd, std::move(exchange), loop_.now(), until};
  const bool added = dialogues_.try_emplace(id, std::move(dialogue)).second;
  BERTH_CHECK(added, "a connection is in one dialogue at a time");
  advance(id);
}

void Dialogues::abandon(ConnectionId id) {
  if (dialogues_.contains(id)) forget(id);
}

void Dialogues::expire() {
  const TimePoint now = loop_.now();
  std::vector<ConnectionId> late;
  next_part_end_ = kNever;
  for (const auto& [id, dialogue] : dialogues_) {
    if (dialogue.until <= now || dialogue.part_until <= now) {
      late.push_back(id);
    } else {
      next_part_end_ = std::min(next_part_end_, dialogue.part_until);
    }
  }
  timer_.arm(next_part_end_);
  for (const ConnectionId id : late) {
    const auto at = dialogues_.find(id);
    if (at == dialogues_.end()) continue;  // what came of another has abandoned it
    const Dialogue& dialogue = at->second;
    wire::Exchange& exchange = *dialogue.exchange;
    exchange.time_out(dialogue.until <= now ? dialogue.until - dialogue.begun : exchange.timeout());
    finish(id, std::string(exchange.why()));
  }
}

void Dialogues::ready(ConnectionId id, uint32_t events) {
  const auto at = dialogues_.find(id);
  if (at == dialogues_.end()) return;
  if ((events & ~uint32_t{EPOLLOUT}) != 0) receive(at->second);
  advance(id);
}

void Dialogues::receive(Dialogue& dialogue) {
  wire::Exchange& exchange = *dialogue.exchange;
  std::array<char, kReadBytes> bytes;
  const int look = exchange.takes_all() ? 0 : MSG_PEEK;
  const ssize_t size = recv(dialogue.fd, bytes.data(), bytes.size(), MSG_DONTWAIT | look);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return exchange.end();
  const size_t taken = exchange.feed({bytes.data(), static_cast<size_t>(size)});
  if (look == 0 || taken == 0) return;
  if (recv(dialogue.fd, bytes.data(), taken, MSG_DONTWAIT) < 0) exchange.end();
}

void Dialogues::advance(ConnectionId id) {
  using State = wire::Exchange::State;
  Dialogue& dialogue = dialogues_.at(id);
  send(dialogue);
  switch (dialogue.exchange->state()) {
    case State::done: return finish(id, "");
    case State::failed: return finish(id, std::string(dialogue.exchange->why()));
    case State::sending:
    case State::expecting: break;
  }
  time_part(dialogue);
  if (!watch(id, dialogue)) finish(id, "the kernel watches no more descriptors");
}

void Dialogues::send(Dialogue& dialogue) {
  wire::Exchange& exchange = *dialogue.exchange;
  while (exchange.state() == wire::Exchange::State::sending) {
    std::vector<iovec> pieces;
    for (const std::string_view piece : exchange.to_send()) {
      pieces.push_back({const_cast<char*>(piece.data()), piece.size()});
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    const ssize_t sent = sendmsg(dialogue.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      exchange.sent(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      return exchange.end();
    }
  }
}

// Its own timeout, as opposed to that of all parts together.
void Dialogues::time_part(Dialogue& dialogue) {
  const size_t part = dialogue.exchange->index();
  if (dialogue.part == part) return;
  dialogue.part = part;
  const Duration timeout = dialogue.exchange->timeout();
  dialogue.part_until = timeout == Duration::zero() ? kNever : after(loop_.now(), timeout);
  if (dialogue.part_until >= next_part_end_) return;
  next_part_end_ = dialogue.part_until;
  timer_.arm(next_part_end_);
}

// False: the kernel refuses.
bool Dialogues::watch(ConnectionId id, Dialogue& dialogue) {
  const bool sending = dialogue.exchange->state() == wire::Exchange::State::sending;
  const uint32_t wanted = EPOLLIN | EPOLLRDHUP | (sending ? uint32_t{EPOLLOUT} : 0);
  if (dialogue.watched == wanted) return true;
  if (dialogue.watched != 0) watch_.remove(dialogue.fd);
  dialogue.watched = watch_.add(dialogue.fd, wanted, id.value()) ? wanted : 0;
  return dialogue.watched != 0;
}

void Dialogues::finish(ConnectionId id, const std::string& why) {
  const Talk talk = dialogues_.at(id).talk;
  forget(id);
  callback_(id, talk, why);
}

void Dialogues::forget(ConnectionId id) {
  const Dialogue& dialogue = dialogues_.at(id);
  if (dialogue.watched != 0) watch_.remove(dialogue.fd);
  dialogues_.erase(id);
}

}  // namespace berth::broker
