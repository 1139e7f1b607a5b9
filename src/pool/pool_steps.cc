// The steps around a lease (rules 2 and 3): resets when it has ended, checks before the next.
#include <algorithm>
#include <vector>

#include "pool/pool.h"

namespace berth::pool {

// --- how well a connection is known ---

void Pool::used(TimePoint now, Connection& connection) {
  connection.quiet_since = now;
  connection.proven_until = after(now, policy_.check_after);
  plan_check(connection);
}

// The server has just answered: even where each grant wants a check, it may be granted at once.
void Pool::proven(TimePoint now, Connection& connection) {
  used(now, connection);
  connection.proven_until = std::max(connection.proven_until, now + Duration(1));
}

// 20 % more or less, so that connections dialled together are not checked together.
void Pool::plan_check(Connection& connection) {
  connection.check_at = kNever;
  if (policy_.check.empty() || policy_.check_interval == Duration::zero()) return;
  const double part = 0.8 + 0.4 * shared_.random.unit();
  connection.check_at = after(connection.quiet_since,
                              std::chrono::duration_cast<Duration>(policy_.check_interval * part));
}

// --- what is gone through ---

void Pool::perform(TimePoint now, Connection& connection, Task task, Actions& actions) {
  move_to(now, connection, State::resetting, task);
  actions.add(Perform{connection.id, id_, task});
}

// It has come back clean.
void Pool::take_in(TimePoint now, Connection& connection, Actions& actions) {
  connection.idle_since = now;
  used(now, connection);
  if (policy_.reset.empty()) {
    move_to(now, connection, State::idle);
  } else {
    perform(now, connection, Task::reset, actions);
  }
  settle(now, actions);
}

void Pool::performed(TimePoint now, Connection& connection, std::optional<CloseReason> fault,
                     std::string_view text, Actions& actions) {
  if (connection.state != State::resetting) return;
  if (!fault) {
    if (connection.task == Task::reset) connection.idle_since = now;
    proven(now, connection);
    return put_to_rest(now, connection, actions);
  }
  const TimePoint begun = connection.since;
  const bool checked = connection.task == Task::check;
  close(now, connection, *fault, actions, text);
  if (checked) check_all(begun, now, connection.endpoint, actions);
  settle(now, actions);
}

// The first who waits for such a one gets it, before any that must be checked: it is proven.
void Pool::put_to_rest(TimePoint now, Connection& connection, Actions& actions) {
  if (const auto reason = unfit(now, connection)) {
    close(now, connection, *reason, actions);
  } else {
    move_to(now, connection, State::idle);
  }
  settle(now, actions);
  if (connection.state != State::idle || now < idle_until(connection)) return;
  close(now, connection, CloseReason::idle, actions);  // its time ran out during the check
  settle(now, actions);
}

// Where one was found dead, those that have been quiet for longer seldom live.
void Pool::check_all(TimePoint quiet_before, TimePoint now, uint32_t endpoint, Actions& actions) {
  if (policy_.check.empty()) return;
  std::vector<Connection*> suspects;
  for (Connection& c : list(State::idle)) {
    if (c.endpoint == endpoint && c.quiet_since < quiet_before) suspects.push_back(&c);
  }
  for (Connection* suspect : suspects) perform(now, *suspect, Task::check, actions);
}

CloseReason Pool::overdue(const Connection& connection) {
  switch (connection.task) {
    case Task::inspect: return CloseReason::dirty;
    case Task::reset: return CloseReason::reset_failed;
    case Task::check: return CloseReason::check_failed;
  }
  return CloseReason::dirty;
}

// --- what is on its way to those who wait ---

void Pool::note_coming(Pass& pass) const {
  for (const Connection& c : list(State::resetting)) {
    if (c.task == Task::inspect || c.epoch != epoch_ || used_up(c) || beyond_max()) continue;
    const auto at = std::find_if(pass.coming.begin(), pass.coming.end(),
                                 [&](const auto& each) { return each.first == c.owner; });
    if (at != pass.coming.end()) {
      ++at->second;
    } else {
      pass.coming.emplace_back(c.owner, 1);
    }
  }
}

// His own first: nobody's may suit others, too.
uint32_t Pool::Pass::claim(Owner owner, uint32_t most) {
  uint32_t claimed = 0;
  for (const bool own : {true, false}) {
    for (auto& [whose, count] : coming) {
      if ((whose == owner) != own || !IdleSet::may_have(owner, whose, earlier)) continue;
      const uint32_t some = std::min(count, most - claimed);
      count -= some;
      claimed += some;
    }
  }
  return claimed;
}

// --- the end ---

void Pool::end_steps(TimePoint now, CloseReason reason, Actions& actions) {
  for (Connection* c = list(State::resetting).front(); c != nullptr;) {
    Connection* const next = StateList::next(*c);
    if (c->task != Task::inspect) close(now, *c, reason, actions);
    c = next;
  }
}

}  // namespace berth::pool
