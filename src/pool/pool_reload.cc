// What a reload does to a pool (rule 23), and its end.
#include <utility>
#include <vector>

#include "pool/pool.h"

namespace berth::pool {

bool Pool::reconfigure(TimePoint now, PoolPolicy policy, Actions& actions) {
  const bool elsewhere = policy.endpoints != policy_.endpoints || policy.share != policy_.share ||
                         policy.login != policy_.login || policy.relogin != policy_.relogin ||
                         policy.via != policy_.via || policy.via_password != policy_.via_password ||
                         policy.dial_command != policy_.dial_command ||
                         policy.login_command != policy_.login_command ||
                         policy.tls != policy_.tls || policy.insecure != policy_.insecure ||
                         policy.starttls != policy_.starttls ||
                         policy.uses_tls() != policy_.uses_tls() || policy.warm != policy_.warm ||
                         policy.protocol != policy_.protocol;
  policy_ = std::move(policy);
  note(now, EventKind::reload);
  if (collecting_ != nullptr) put_back(now, *collecting_);
  if (elsewhere) {
    ++epoch_;
    close_all(now, State::connecting, CloseReason::renewed, actions);
    close_all(now, State::idle, CloseReason::renewed, actions);
    end_steps(now, CloseReason::renewed, actions);
    endpoints_.configure(policy_.endpoints);
    endpoints_.forget();
    for (Waiter& waiter : waiters_) waiter.owner = owner_for(waiter.session->info);
  }
  close_used_up(now, actions);
  file_anew();
  turn_out_the_impossible(now, actions);
  close_excess(now, actions);
  settle(now, actions);
  return elsewhere;
}

void Pool::close_used_up(TimePoint now, Actions& actions) {
  for (Connection* c = list(State::idle).front(); c != nullptr;) {
    Connection* const next = StateList::next(*c);
    if (used_up(*c)) close(now, *c, CloseReason::uses, actions);
    c = next;
  }
}

// Deadlines and the reserve depend on settings.
void Pool::file_anew() {
  std::vector<Connection*> idle;
  for (Connection& connection : list(State::idle)) idle.push_back(&connection);
  for (Connection* connection : idle) leave_state(*connection);
  for (Connection* connection : idle) {
    plan_check(*connection);
    enter_state(*connection);
  }
  for (const State state : {State::connecting, State::resetting}) {
    for (Connection& c : list(state)) shared_.deadlines.set(c.deadline, due_at(c));
  }
  for (Connection& connection : list(State::leased)) {
    if (Lease* lease = shared_.leases.find(connection.lease)) watch_lease(*lease);
  }
}

void Pool::turn_out_the_impossible(TimePoint now, Actions& actions) {
  for (Waiter* waiter = waiters_.front(); waiter != nullptr;) {
    Waiter* const next = WaiterQueue::next(*waiter);
    if (never_to_be_had(waiter->count)) {
      turn_out(now, *waiter, {Code::kInvalid, too_many_text(waiter->count), {}, {}}, actions);
    }
    waiter = next;
  }
}

void Pool::close_excess(TimePoint now, Actions& actions) {
  if (!beyond_max()) return;
  const auto most = static_cast<size_t>(policy_.max_connections);
  for (size_t left = total_ - count(State::closing); left > most; --left) {
    Connection* surplus = list(State::idle).front();
    if (surplus == nullptr) surplus = list(State::connecting).back();
    if (surplus == nullptr) return;  // the rest goes when it comes back
    close(now, *surplus, CloseReason::overflow, actions);
  }
}

void Pool::turn_out(TimePoint now, Waiter& waiter, Refusal refusal, Actions& actions) {
  turn_away(now, waiter.session->id, waiter.ticket.request_id, std::move(refusal), actions);
  dequeue(now, waiter);
}

void Pool::remove(TimePoint now, Actions& actions) {
  note(now, EventKind::remove);
  end(now, CloseReason::removed, Code::kNoSuchKey, actions);
}

void Pool::stop(TimePoint now, Actions& actions) {
  end(now, CloseReason::shutdown, Code::kShuttingDown, actions);
}

void Pool::end(TimePoint now, CloseReason reason, Code code, Actions& actions) {
  ending_ = reason;
  refuse_all(now, code, actions);
  close_all(now, State::connecting, reason, actions);
  close_all(now, State::idle, reason, actions);
  end_steps(now, reason, actions);
  settle(now, actions);
}

std::string Pool::gone_text() const {
  return "\"" + policy_.key + "\" has left the configuration";
}

}  // namespace berth::pool
