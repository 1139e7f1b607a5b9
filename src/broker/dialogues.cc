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

void Dialogues::begin(ConnectionId id, Talk talk, int fd,
                      std::shared_ptr<const wire::StepProgram> program, TimePoint until) {
  auto dialogue = std::make_unique<Dialogue>(talk, fd, std::move(program), loop_.now(), until);
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
  next_step_end_ = kNever;
  for (const auto& [id, dialogue] : dialogues_) {
    if (dialogue->until <= now || dialogue->step_until <= now) {
      late.push_back(id);
    } else {
      next_step_end_ = std::min(next_step_end_, dialogue->step_until);
    }
  }
  timer_.arm(next_step_end_);
  for (const ConnectionId id : late) {
    Dialogue& dialogue = *dialogues_[id];
    dialogue.run.time_out(dialogue.until <= now ? dialogue.until - dialogue.begun
                                                : dialogue.run.timeout());
    finish(id, std::string(dialogue.run.why()));
  }
}

void Dialogues::ready(ConnectionId id, uint32_t events) {
  const auto at = dialogues_.find(id);
  if (at == dialogues_.end()) return;
  if ((events & ~uint32_t{EPOLLOUT}) != 0) receive(*at->second);
  advance(id);
}

void Dialogues::receive(Dialogue& dialogue) {
  std::array<char, kReadBytes> bytes;
  const ssize_t size = recv(dialogue.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (size > 0) return dialogue.run.feed({bytes.data(), static_cast<size_t>(size)});
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  dialogue.run.end();
}

void Dialogues::advance(ConnectionId id) {
  Dialogue& dialogue = *dialogues_[id];
  send(dialogue);
  switch (dialogue.run.state()) {
    case wire::StepRun::State::done: return finish(id, "");
    case wire::StepRun::State::failed: return finish(id, std::string(dialogue.run.why()));
    case wire::StepRun::State::sending:
    case wire::StepRun::State::expecting: break;
  }
  time_step(dialogue);
  if (!watch(id, dialogue)) finish(id, "the kernel watches no more descriptors");
}

void Dialogues::send(Dialogue& dialogue) {
  while (dialogue.run.state() == wire::StepRun::State::sending) {
    std::vector<iovec> pieces;
    for (const std::string_view piece : dialogue.run.to_send()) {
      pieces.push_back({const_cast<char*>(piece.data()), piece.size()});
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    const ssize_t sent = sendmsg(dialogue.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      dialogue.run.sent(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      return dialogue.run.end();
    }
  }
}

// Its own timeout, as opposed to that of all steps together.
void Dialogues::time_step(Dialogue& dialogue) {
  if (dialogue.step == dialogue.run.index()) return;
  dialogue.step = dialogue.run.index();
  const Duration timeout = dialogue.run.timeout();
  dialogue.step_until = timeout == Duration::zero() ? kNever : after(loop_.now(), timeout);
  if (dialogue.step_until >= next_step_end_) return;
  next_step_end_ = dialogue.step_until;
  timer_.arm(next_step_end_);
}

// False: the kernel refuses.
bool Dialogues::watch(ConnectionId id, Dialogue& dialogue) {
  const bool sending = dialogue.run.state() == wire::StepRun::State::sending;
  const uint32_t wanted = EPOLLIN | EPOLLRDHUP | (sending ? uint32_t{EPOLLOUT} : 0);
  if (dialogue.watched == wanted) return true;
  if (dialogue.watched != 0) watch_.remove(dialogue.fd);
  dialogue.watched = watch_.add(dialogue.fd, wanted, id.value()) ? wanted : 0;
  return dialogue.watched != 0;
}

void Dialogues::finish(ConnectionId id, const std::string& why) {
  const Talk talk = dialogues_[id]->talk;
  forget(id);
  callback_(id, talk, why);
}

void Dialogues::forget(ConnectionId id) {
  Dialogue& dialogue = *dialogues_[id];
  if (dialogue.watched != 0) watch_.remove(dialogue.fd);
  dialogues_.erase(id);
}

}  // namespace berth::broker
