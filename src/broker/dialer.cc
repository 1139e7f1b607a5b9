#include "broker/dialer.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>

#include "base/limits.h"
#include "base/status_text.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// After an attempt that has no end yet the next begins (RFC 8305, section 5).
constexpr Duration kAttemptDelay = 250ms;
// A dial that failed names as many reasons; with more, the last.
constexpr size_t kErrorsShown = 3;

}  // namespace

Dialer::Dialer(loop::Loop& loop, Resolver& resolver, Slots slots, Callback callback)
    : loop_(loop),
      resolver_(resolver),
      slots_(std::move(slots)),
      callback_(std::move(callback)),
      watch_(loop, [this](uint64_t tag, uint32_t) { connected(tag); }),
      timer_(loop, [this] {
        while (!due_.empty() && due_.begin()->first <= loop_.now()) advance(due_.begin()->second);
      }) {}

void Dialer::dial(ConnectionId id, Question question, SharedOptions options) {
  const auto literal = net::literal_address(question.endpoint);
  auto dial = std::make_unique<Dial>();
  dial->question = std::move(question);
  dial->named = !literal;
  dial->options = std::move(options);
  const Question& asked = (dials_[id] = std::move(dial))->question;
  if (literal) return resolved(id, std::vector{net::Place{*literal}});
  resolver_.ask(Question(asked), [this, id](Resolver::Found found) {
    if (dials_.contains(id)) resolved(id, std::move(found));
  });
}

void Dialer::abandon(ConnectionId id) {
  const std::unique_ptr<Dial> dial = take(id);
  if (dial == nullptr) return;
  // Most often its time is over, and none of the addresses has answered.
  if (dial->named && dial->next > 0) resolver_.distrust(dial->question);
  if (dial->slots > 0) slots_.give_back(dial->slots);
}

void Dialer::resolved(ConnectionId id, Resolver::Found found) {
  if (!found.ok()) return finish(id, found.status());
  for (const net::Place& place : *found) dials_[id]->addresses.push_back(place.address);
  advance(id);
}

// Begins what is due, or what nothing stands in the way of.
void Dialer::advance(ConnectionId id) {
  Dial& dial = *dials_[id];
  while (dial.next < dial.addresses.size() &&
         (dial.attempts.empty() || dial.next_at <= loop_.now()) && make_room(dial)) {
    try_next(id, dial);
  }
  if (dial.attempts.empty()) return finish(id, failure_of(dial));
  plan(id, dial, dial.next < dial.addresses.size() ? dial.next_at : kNever);
  const auto needed = static_cast<uint32_t>(dial.attempts.size() - 1);
  const uint32_t surplus = dial.slots - std::min(dial.slots, needed);
  dial.slots -= surplus;
  if (surplus > 0) slots_.give_back(surplus);
}

// A slot for one more attempt. False: none is free now.
bool Dialer::make_room(Dial& dial) {
  if (dial.attempts.size() == kMaxDialAttempts) give_up_first(dial);
  if (dial.attempts.size() <= dial.slots) return true;
  if (slots_.reserve()) {
    ++dial.slots;
    return true;
  }
  dial.next_at = loop_.now() + kAttemptDelay;
  return false;
}

void Dialer::try_next(ConnectionId id, Dial& dial) {
  const net::SocketAddress& address = dial.addresses[dial.next++];
  dial.next_at = loop_.now();
  absl::StatusOr<UniqueFd> fd = net::start_connect(address, *dial.options);
  if (!fd.ok()) return note_failure(dial, text_of(fd.status()));
  const uint64_t tag = ++last_tag_;
  if (!watch_.add(fd->get(), EPOLLOUT | EPOLLONESHOT, tag)) {
    return note_failure(dial, "the kernel watches no more descriptors");
  }
  by_tag_[tag] = id;
  dial.attempts.push_back({tag, *std::move(fd), address});
  dial.next_at = loop_.now() + kAttemptDelay;
}

// The one that has been tried for longest makes way.
void Dialer::give_up_first(Dial& dial) {
  Attempt& first = dial.attempts.front();
  stop_watching(first);
  note_failure(dial, "connect to " + first.address.text() + ": no answer");
  dial.attempts.erase(dial.attempts.begin());
}

void Dialer::note_failure(Dial& dial, std::string error) {
  if (++dial.failures > kErrorsShown) dial.errors.clear();
  dial.errors.push_back(std::move(error));
}

absl::Status Dialer::failure_of(const Dial& dial) {
  std::string text;
  for (const std::string& error : dial.errors) text += (text.empty() ? "" : "; ") + error;
  if (dial.failures > kErrorsShown)
    text += fmt::format(" (the last of {} addresses)", dial.failures);
  return absl::UnavailableError(text);
}

void Dialer::connected(uint64_t tag) {
  const auto owner = by_tag_.find(tag);
  if (owner == by_tag_.end()) return;
  const ConnectionId id = owner->second;
  Dial& dial = *dials_[id];
  const auto attempt = std::find_if(dial.attempts.begin(), dial.attempts.end(),
                                    [tag](const Attempt& each) { return each.tag == tag; });
  UniqueFd fd = stop_watching(*attempt);
  const net::SocketAddress address = attempt->address;
  dial.attempts.erase(attempt);
  const absl::Status status = net::finish_connect(fd.get(), address);
  if (status.ok()) {
    std::optional<Question> name;
    if (dial.named) name = dial.question;
    return finish(
        id, Dialed{std::move(fd), address, dial.options, /*shared=*/false, std::move(name)});
  }
  fd.reset();
  note_failure(dial, text_of(status));
  dial.next_at = loop_.now();
  advance(id);
}

void Dialer::plan(ConnectionId id, Dial& dial, TimePoint when) {
  if (dial.due != when) {
    if (dial.due != kNever) due_.erase({dial.due, id});
    if (when != kNever) due_.emplace(when, id);
    dial.due = when;
  }
  timer_.arm(due_.empty() ? kNever : due_.begin()->first);
}

void Dialer::finish(ConnectionId id, absl::StatusOr<Dialed> result) {
  const std::unique_ptr<Dial> dial = take(id);
  if (!result.ok() && dial->next > 0 && dial->named) resolver_.distrust(dial->question);
  callback_(id, std::move(result));
  if (dial->slots > 0) slots_.give_back(dial->slots);
}

// Nothing of it is tried any more. nullptr: it has ended.
std::unique_ptr<Dialer::Dial> Dialer::take(ConnectionId id) {
  const auto at = dials_.find(id);
  if (at == dials_.end()) return nullptr;
  std::unique_ptr<Dial> dial = std::move(at->second);
  dials_.erase(at);
  plan(id, *dial, kNever);
  for (Attempt& attempt : dial->attempts) stop_watching(attempt);
  dial->attempts.clear();
  return dial;
}

// What is returned is closed if nobody takes it.
UniqueFd Dialer::stop_watching(Attempt& attempt) {
  watch_.remove(attempt.fd.get());
  by_tag_.erase(attempt.tag);
  return std::move(attempt.fd);
}

}  // namespace berth::broker
