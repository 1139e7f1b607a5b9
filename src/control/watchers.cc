#include "control/watchers.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/limits.h"
#include "broker/words.h"

namespace berth::control {

v1::EventKind kind_of(pool::EventKind kind) {
  switch (kind) {
    case pool::EventKind::dial: return v1::EVENT_DIAL;
    case pool::EventKind::dialed: return v1::EVENT_DIALED;
    case pool::EventKind::dial_failed: return v1::EVENT_DIAL_FAILED;
    case pool::EventKind::grant: return v1::EVENT_GRANT;
    case pool::EventKind::take_back: return v1::EVENT_TAKE_BACK;
    case pool::EventKind::release: return v1::EVENT_RELEASE;
    case pool::EventKind::close: return v1::EVENT_CLOSE;
    case pool::EventKind::refuse: return v1::EVENT_REFUSE;
    case pool::EventKind::lease_warning: return v1::EVENT_LEASE_WARNING;
    case pool::EventKind::revoke: return v1::EVENT_REVOKE;
    case pool::EventKind::pause: return v1::EVENT_PAUSE;
    case pool::EventKind::disable: return v1::EVENT_DISABLE;
    case pool::EventKind::open: return v1::EVENT_OPEN;
    case pool::EventKind::renew: return v1::EVENT_RENEW;
    case pool::EventKind::evict: return v1::EVENT_EVICT;
    case pool::EventKind::expire: return v1::EVENT_EXPIRE;
    case pool::EventKind::learn: return v1::EVENT_LEARN;
    case pool::EventKind::reload: return v1::EVENT_RELOAD;
    case pool::EventKind::remove: return v1::EVENT_REMOVE;
    case pool::EventKind::backoff: return v1::EVENT_BACKOFF;
    case pool::EventKind::connect: return v1::EVENT_CONNECT;
    case pool::EventKind::cache_miss: return v1::EVENT_CACHE_MISS;
    case pool::EventKind::count: return v1::EVENT_COUNT;
  }
  return v1::EVENT_UNSPECIFIED;
}

// --- one stream ---

void Watch::begin() {
  const std::lock_guard lock(mutex_);
  start_ = true;
  wake();
}

void Watch::add(std::shared_ptr<const v1::Event> event) {
  const std::lock_guard lock(mutex_);
  if (queue_.size() >= kMaxEventsPerWatch) {
    ++missed_;
    return;
  }
  queue_.push_back({std::move(event), std::exchange(missed_, 0)});
  wake();
}

void Watch::end(absl::Status status) {
  const std::lock_guard lock(mutex_);
  end_ = std::move(status);
  wake();
}

bool Watch::over() const {
  const std::lock_guard lock(mutex_);
  return gone_ || turn_ == Turn::finished;
}

void Watch::sent(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    gone_ |= !ok;
  }
  write_next();
}

void Watch::cancelled() {
  const std::lock_guard lock(mutex_);
  gone_ = true;
  wake();
}

void Watch::wake() {
  if (turn_ != Turn::idle) return;
  turn_ = Turn::writing;
  answers_.add([this] { write_next(); });
}

// Whoever is here is the only one, and the sink is there until finish() was called.
void Watch::write_next() {
  std::unique_lock lock(mutex_);
  if (gone_ || (end_ && queue_.empty() && !start_)) {
    turn_ = Turn::finished;
    const absl::Status status = end_.value_or(absl::CancelledError());
    lock.unlock();
    return sink_.finish(status);
  }
  if (std::exchange(start_, false)) {
    lock.unlock();
    return sink_.send_start();
  }
  if (queue_.empty()) {
    turn_ = Turn::idle;
    return;
  }
  const Entry entry = std::move(queue_.front());
  queue_.pop_front();
  lock.unlock();
  current_ = *entry.event;
  current_.set_missed(entry.missed);
  sink_.send(current_);
}

// --- all of them ---

Watchers::Watchers(broker::Broker& broker, const View& view) : broker_(broker), view_(view) {
  broker_.driver().follow([this](const pool::Event& event) { tell(event); });
}

Watchers::~Watchers() {
  end_all();
  broker_.driver().follow(nullptr);
}

void Watchers::add(const std::shared_ptr<Watch>& watch) {
  const std::string& key = watch->request().key();
  if (const auto pool = view_.find_pool(key); !key.empty() && !pool.ok()) {
    return watch->end(pool.status());
  }
  watch->begin();
  remind(*watch);
  if (watch->request().stop()) return watch->end(absl::OkStatus());
  watches_.push_back(watch);
  broker_.driver().follow_all(true);
}

size_t Watchers::count() const {
  const auto follows = [](const auto& watch) { return !watch->over(); };
  return static_cast<size_t>(std::count_if(watches_.begin(), watches_.end(), follows));
}

void Watchers::end_all() {
  for (const auto& watch : std::exchange(watches_, {})) {
    watch->end(absl::UnavailableError("berthd is stopping"));
  }
  broker_.driver().follow_all(false);
}

void Watchers::tell(const pool::Event& event) {
  std::erase_if(watches_, [](const auto& watch) { return watch->over(); });
  if (watches_.empty()) broker_.driver().follow_all(false);
  const auto told = std::make_shared<const v1::Event>(describe(event));
  for (const auto& watch : watches_) {
    if (watch->wants(*told)) watch->add(told);
  }
  if (recent_.size() == kMaxRecentEvents) recent_.pop_front();
  recent_.push_back(told);
}

void Watchers::remind(Watch& watch) const {
  std::vector<std::shared_ptr<const v1::Event>> chosen;
  for (auto at = recent_.rbegin(); at != recent_.rend(); ++at) {
    if (chosen.size() == watch.request().recent()) break;
    if (watch.wants(**at)) chosen.push_back(*at);
  }
  for (auto at = chosen.rbegin(); at != chosen.rend(); ++at) watch.add(*at);
}

v1::Event Watchers::describe(const pool::Event& event) const {
  const pool::Depot& depot = broker_.driver().depot();
  v1::Event told;
  told.set_kind(kind_of(event.kind));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  told.set_time_unix_ms(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  told.set_key(event.key);
  told.set_connection_id(event.connection.value());
  told.set_channel_id(event.channel.value());
  told.set_lease_id(event.lease.value());
  told.set_session_id(event.session.value());
  if (const pool::Session* session = depot.session(event.session)) {
    told.set_uid(session->info.uid);
    told.set_pid(session->info.pid > 0 ? static_cast<uint32_t>(session->info.pid) : 0);
  }
  told.set_text(event.text);
  switch (event.kind) {
    case pool::EventKind::close:
      told.set_close_reason(reason_of(static_cast<CloseReason>(event.detail)));
      break;
    case pool::EventKind::refuse: told.set_code(static_cast<v1::Code>(event.detail)); break;
    case pool::EventKind::revoke:
      told.set_text(broker::explain(static_cast<pool::Revoke::Cause>(event.detail)));
      break;
    default: told.set_count(event.detail); break;
  }
  return told;
}

}  // namespace berth::control
