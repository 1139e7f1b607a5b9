#include "broker/dialogues.h"

#include <fcntl.h>
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
// Of plain text in a record of TLS (RFC 5246, 6.2.1).
constexpr size_t kRecordBytes = 16 * 1024;

// As send(2).
ssize_t send_to(int fd, const std::vector<std::string_view>& all) {
  std::vector<iovec> pieces;
  pieces.reserve(all.size());
  for (const std::string_view piece : all) {
    pieces.push_back({const_cast<char*>(piece.data()), piece.size()});
  }
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// What a worker sends for an exchange that nobody touches meanwhile.
struct Sending {
  std::shared_ptr<wire::Exchange> exchange;
  UniqueFd fd;
  ssize_t sent = -1;
  int error = 0;

  Sending(std::shared_ptr<wire::Exchange> whose, UniqueFd socket)
      : exchange(std::move(whose)), fd(std::move(socket)) {}

  void run() {
    sent = send_to(fd.get(), exchange->to_send());
    error = errno;
  }
};

// Likewise. In one record, as far as they fit: that of a password alone would tell its length.
ssize_t send_through(net::TlsStream& tls, const std::vector<std::string_view>& all) {
  std::array<char, kRecordBytes> record;
  size_t size = 0;
  for (const std::string_view piece : all) {
    size += piece.copy(record.data() + size, record.size() - size);
  }
  const ssize_t sent = tls.send({record.data(), size});
  explicit_bzero(record.data(), size);
  return sent;
}

}  // namespace

const char* name_of(Talk talk) {
  switch (talk) {
    case Talk::proxy: return "proxy";
    case Talk::tls: return "TLS";
    case Talk::greeting: return "greeting";
    case Talk::login: return "login";
    case Talk::reset: return "reset";
    case Talk::relogin: return "login after reset";
    case Talk::check: return "check";
  }
  return "";
}

Dialogues::Dialogues(loop::Loop& loop, Callback callback, Slot slot)
    : loop_(loop),
      callback_(std::move(callback)),
      slot_(std::move(slot)),
      timer_(loop, [this] { expire(); }),
      watch_(loop, [this](uint64_t tag, uint32_t events) {
        ready(ConnectionId::from_value(tag), events);
      }) {}

void Dialogues::begin(ConnectionId id, Talk talk, net::Stream stream,
                      std::shared_ptr<wire::Exchange> exchange, TimePoint until) {
  BERTH_CHECK(stream.tls == nullptr || exchange->takes_all(), "bytes under TLS cannot be left");
  auto dialogue = std::make_shared<Dialogue>(
      Dialogue{id, talk, stream, std::move(exchange), loop_.now(), until});
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
    if (dialogue->until <= now || dialogue->part_until <= now) {
      late.push_back(id);
    } else {
      next_part_end_ = std::min(next_part_end_, dialogue->part_until);
    }
  }
  timer_.arm(next_part_end_);
  for (const ConnectionId id : late) {
    const auto at = dialogues_.find(id);
    if (at != dialogues_.end()) fail_late(*at->second);  // or what came of another has abandoned it
  }
}

void Dialogues::fail_late(Dialogue& dialogue) {
  wire::Exchange& exchange = *dialogue.exchange;
  const bool whole = dialogue.until <= loop_.now();
  const Duration time = whole ? dialogue.until - dialogue.begun : exchange.timeout();
  if (dialogue.worker != Dialogue::Worker::none) {
    const bool computes = dialogue.worker == Dialogue::Worker::computes;
    return finish(dialogue.id, std::string("could not be ") + (computes ? "computed" : "sent") +
                                   " within " + format_duration(time));
  }
  exchange.time_out(time);
  finish(dialogue.id, std::string(exchange.why()));
}

void Dialogues::ready(ConnectionId id, uint32_t events) {
  const auto at = dialogues_.find(id);
  if (at == dialogues_.end() || at->second->worker != Dialogue::Worker::none) return;
  at->second->full = false;
  if ((events & ~uint32_t{EPOLLOUT}) != 0) receive(*at->second);
  advance(id);
}

void Dialogues::receive(Dialogue& dialogue) {
  if (dialogue.stream.tls != nullptr) return receive_through_tls(dialogue);
  wire::Exchange& exchange = *dialogue.exchange;
  const int fd = dialogue.stream.fd;
  std::array<char, kReadBytes> bytes;
  const int look = exchange.takes_all() ? 0 : MSG_PEEK;
  const ssize_t size = recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | look);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return exchange.end();
  const size_t taken = exchange.feed({bytes.data(), static_cast<size_t>(size)});
  if (look == 0 || taken == 0) return;
  if (recv(fd, bytes.data(), taken, MSG_DONTWAIT) < 0) exchange.end();
}

// All that is decrypted: the socket would not tell of the rest.
void Dialogues::receive_through_tls(Dialogue& dialogue) {
  std::array<char, net::TlsStream::kMostRead> bytes;
  const ssize_t size = dialogue.stream.tls->recv(bytes);
  if (size > 0) {
    dialogue.exchange->feed({bytes.data(), static_cast<size_t>(size)});
    if (dialogue.stream.tls->at_end()) dialogue.exchange->end();
  } else if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
    dialogue.exchange->end();
  }
}

bool Dialogues::Dialogue::wants_to_send() const {
  return exchange->state() == wire::Exchange::State::sending ||
         (stream.tls != nullptr && stream.tls->keeps());
}

void Dialogues::advance(ConnectionId id) {
  using State = wire::Exchange::State;
  Dialogue& dialogue = *dialogues_.at(id);
  if (dialogue.stream.contended) {
    const bool sending = dialogue.exchange->state() == State::sending;
    if (sending && !dialogue.full) return send_elsewhere(dialogue);
  } else {
    send(dialogue);
  }
  switch (dialogue.exchange->state()) {
    case State::done:
      if (!dialogue.wants_to_send()) return finish(id, "");
      break;
    case State::failed: return finish(id, std::string(dialogue.exchange->why()));
    case State::computing: return compute(dialogue);
    case State::sending:
    case State::expecting: break;
  }
  time_part(dialogue);
  if (!watch(dialogue)) finish(id, "the kernel watches no more descriptors");
}

// `done` is left out if the dialogue was abandoned meanwhile.
void Dialogues::give_to_worker(Dialogue& dialogue, Dialogue::Worker worker,
                               std::function<void()> work, std::function<void(Dialogue&)> done) {
  stop_watching(dialogue);
  dialogue.worker = worker;
  const std::weak_ptr<Dialogue> still_wanted = dialogues_.at(dialogue.id);
  const std::weak_ptr<const bool> alive = alive_;
  loop_.run_on_worker(std::move(work), [this, alive, still_wanted, worker, done = std::move(done)] {
    if (alive.expired()) return;
    if (worker == Dialogue::Worker::sends) slot_.release();
    const std::shared_ptr<Dialogue> back = still_wanted.lock();
    if (back == nullptr) return;
    back->worker = Dialogue::Worker::none;
    done(*back);
    advance(back->id);
  });
}

void Dialogues::compute(Dialogue& dialogue) {
  give_to_worker(
      dialogue, Dialogue::Worker::computes, [exchange = dialogue.exchange] { exchange->compute(); },
      [](Dialogue&) {});
}

// By a duplicate, since the socket may be closed, and its number another's, before the worker comes
// to it.
void Dialogues::send_elsewhere(Dialogue& dialogue) {
  if (!slot_.reserve()) return finish(dialogue.id, "there is no descriptor for who is to send");
  auto sending = std::make_shared<Sending>(dialogue.exchange,
                                           UniqueFd(fcntl(dialogue.stream.fd, F_DUPFD_CLOEXEC, 0)));
  give_to_worker(
      dialogue, Dialogue::Worker::sends, [sending] { sending->run(); },
      [sending](Dialogue& back) {
        if (sending->sent >= 0) return back.exchange->sent(static_cast<size_t>(sending->sent));
        back.full = sending->error == EAGAIN;
        if (!back.full && sending->error != EINTR) back.exchange->end();
      });
}

void Dialogues::send(Dialogue& dialogue) {
  wire::Exchange& exchange = *dialogue.exchange;
  if (dialogue.stream.tls != nullptr && !dialogue.stream.tls->flush()) return exchange.end();
  while (exchange.state() == wire::Exchange::State::sending) {
    const ssize_t sent = dialogue.stream.tls != nullptr
                             ? send_through(*dialogue.stream.tls, exchange.to_send())
                             : send_to(dialogue.stream.fd, exchange.to_send());
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
bool Dialogues::watch(Dialogue& dialogue) {
  const uint32_t wanted =
      EPOLLIN | EPOLLRDHUP | (dialogue.wants_to_send() ? uint32_t{EPOLLOUT} : 0);
  if (dialogue.watched == wanted) return true;
  stop_watching(dialogue);
  if (watch_.add(dialogue.stream.fd, wanted, dialogue.id.value())) dialogue.watched = wanted;
  return dialogue.watched != 0;
}

void Dialogues::stop_watching(Dialogue& dialogue) {
  if (std::exchange(dialogue.watched, 0) != 0) watch_.remove(dialogue.stream.fd);
}

void Dialogues::finish(ConnectionId id, const std::string& why) {
  const Talk talk = dialogues_.at(id)->talk;
  forget(id);
  callback_(id, talk, why);
}

void Dialogues::forget(ConnectionId id) {
  stop_watching(*dialogues_.at(id));
  dialogues_.erase(id);
}

}  // namespace berth::broker
