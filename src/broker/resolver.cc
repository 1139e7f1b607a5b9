#include "broker/resolver.h"

#include <absl/status/status.h>

#include <algorithm>
#include <string>

#include "base/limits.h"
#include "base/log.h"

namespace berth::broker {
namespace {

using namespace std::chrono_literals;

// However short a TTL is, nobody asks more often for it.
constexpr Duration kLeastKept = 1s;
// After a refresh that failed, which nobody waits for.
constexpr Duration kRetryAfter = 5s;
// Half of libuv's workers: where name servers do not answer, the others are there for dials.
constexpr size_t kMaxRefreshes = 2;

TimePoint expiry(const Question& question, Duration ttl, TimePoint now) {
  if (question.refresh == Duration::zero()) return kNever;
  return after(now, std::min(question.refresh, std::max(ttl, kLeastKept)));
}

}  // namespace

Resolver::Resolver(loop::Loop& loop, Lookup lookup, Gone gone, uint64_t seed)
    : loop_(loop),
      lookup_(std::move(lookup)),
      gone_(std::move(gone)),
      random_(seed),
      timer_(loop, [this] { refresh(); }),
      self_(std::make_shared<Resolver*>(this)) {}

Resolver::~Resolver() = default;

// --- who asks ---

void Resolver::ask(const Question& question, Callback callback) {
  KnownName& name = find(question);
  if (loop_.now() < name.expires_at) {
    Found found = addresses_of(name);
    changed(name);
    return callback(std::move(found));
  }
  name.askers.push_back(std::move(callback));
  if (name.lookup == KnownName::Lookup::none) look_up(name);
}

void Resolver::distrust(const Question& question) {
  const auto at = names_.find(question);
  if (at == names_.end()) return;
  at->second->expires_at = TimePoint();
  changed(*at->second);
}

KnownName& Resolver::find(const Question& question) {
  std::unique_ptr<KnownName>& name = names_[question];
  if (name == nullptr) name = std::make_unique<KnownName>(question);
  return *name;
}

Resolver::Found Resolver::addresses_of(KnownName& name) {
  const uint64_t turn = name.question.in_turn ? name.turn++ : 0;
  return net::dial_order(name.answer.targets, turn, random_);
}

// --- who is connected ---

// A name that was forgotten meanwhile is looked up now.
void Resolver::use(Upstream& upstream, const Question& question) {
  KnownName& name = find(question);
  upstream.name = &name;
  name.users.push_back(upstream);
  changed(name);
  const bool known = !name.answer.targets.empty() && name.answer.complete;
  if (known && !net::has_address(name.answer, upstream.peer)) gone_(upstream.id);
}

void Resolver::leave(Upstream& upstream) {
  if (upstream.name == nullptr) return;
  KnownName& name = *std::exchange(upstream.name, nullptr);
  name.users.remove(upstream);
  changed(name);
}

// --- lookups ---

// The last that is done with the name: the answer may come from within, and the name may go.
void Resolver::look_up(KnownName& name) {
  name.lookup = name.askers.empty() ? KnownName::Lookup::refresh : KnownName::Lookup::asked_for;
  if (name.lookup == KnownName::Lookup::refresh) ++refreshing_;
  changed(name);
  const std::weak_ptr<Resolver*> self = self_;
  const Question question = name.question;
  lookup_(question, [self, question](net::Answer answer) {
    if (const auto resolver = self.lock()) (*resolver)->answered(question, std::move(answer));
  });
}

void Resolver::answered(const Question& question, net::Answer answer) {
  KnownName& name = *names_.at(question);
  if (name.lookup == KnownName::Lookup::refresh) --refreshing_;
  name.lookup = KnownName::Lookup::none;
  const std::string error = answer.error;
  std::vector<ConnectionId> gone;
  if (error.empty()) {
    gone = take(name, std::move(answer));
  } else {
    failed(name, error);
  }
  std::vector<std::pair<Callback, Found>> answers;
  for (Callback& asker : std::exchange(name.askers, {})) {
    answers.emplace_back(std::move(asker),
                         error.empty() ? addresses_of(name) : absl::UnavailableError(error));
  }
  changed(name);
  // What follows may ask again, or let go of the name.
  for (const ConnectionId id : gone) gone_(id);
  for (auto& [asker, found] : answers) asker(std::move(found));
}

// Returns who is connected to what it does not have any more.
std::vector<ConnectionId> Resolver::take(KnownName& name, net::Answer answer) {
  name.expires_at = expiry(name.question, answer.ttl, loop_.now());
  name.retry_at = TimePoint();
  const bool same = name.answer.complete && net::same_addresses(name.answer, answer);
  name.answer = std::move(answer);
  std::vector<ConnectionId> gone;
  if (same || !name.answer.complete) return gone;
  for (const Upstream& upstream : name.users) {
    if (!net::has_address(name.answer, upstream.peer)) gone.push_back(upstream.id);
  }
  if (!gone.empty()) {
    log().info("{} has other addresses: {} connections to former ones",
               name.question.endpoint.url(), gone.size());
  }
  return gone;
}

// Connections stay: that nobody can tell where a server is does not mean that it has gone.
void Resolver::failed(KnownName& name, const std::string& error) {
  if (name.retry_at == TimePoint() && !name.users.empty()) log().warn("{}", error);
  name.retry_at = after(loop_.now(), kRetryAfter);
}

// --- what is known ---

// After each change: files the name where it belongs now.
void Resolver::changed(KnownName& name) {
  const TimePoint due = due_at(name);
  if (due != name.due) {
    if (name.due != kNever) due_.erase({name.due, &name});
    if (due != kNever) due_.emplace(due, &name);
    name.due = due;
  }
  arm();
  if (idle_.contains(name)) idle_.remove(name);
  if (!name.users.empty() || name.lookup != KnownName::Lookup::none) return;
  idle_.push_back(name);
  if (idle_.size() <= kMaxIdleNames) return;
  KnownName& oldest = *idle_.front();
  idle_.remove(oldest);
  names_.erase(Question(oldest.question));
}

TimePoint Resolver::due_at(const KnownName& name) const {
  const bool refreshed = !name.users.empty() && name.question.refresh != Duration::zero();
  if (!refreshed || name.lookup != KnownName::Lookup::none) return kNever;
  return std::max(name.expires_at, name.retry_at);
}

void Resolver::refresh() {
  while (!due_.empty() && due_.begin()->first <= loop_.now() && refreshing_ < kMaxRefreshes) {
    look_up(*due_.begin()->second);
  }
  arm();
}

void Resolver::arm() {
  timer_.arm(due_.empty() || refreshing_ >= kMaxRefreshes ? kNever : due_.begin()->first);
}

}  // namespace berth::broker
