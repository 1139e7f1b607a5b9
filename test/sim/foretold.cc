#include "sim/foretold.h"

#include <tuple>
#include <variant>

#include "sim/checks.h"

namespace berth::sim {

using pool::Action;
using pool::Close;
using pool::Dial;
using pool::Grant;
using pool::Intake;
using pool::Refuse;
using pool::Step;

namespace {

using ActionSpan = std::span<const Action>;

// nullptr: it is another one, or not the only one.
template <class A>
const A* only(ActionSpan actions) {
  return actions.size() == 1 ? std::get_if<A>(&actions.front()) : nullptr;
}

// All else is recounted after each event.
auto not_recounted(const pool::Depot& depot) {
  const pool::Shared& shared = depot.shared();
  Random random = shared.random;
  return std::tuple(depot.next_deadline(), shared.arrivals, shared.slots.needed(),
                    shared.hungry.size(), random.next());
}

// Then what is overdue comes about with the request. A batch gives up what it has collected, and is
// too old by now, when it is looked at.
bool is_anything_overdue(const pool::Depot& depot, TimePoint now) {
  if (depot.next_deadline() <= now) return true;
  for (const pool::Waiter& batch : depot.shared().collectors) {
    for (const pool::Connection& c : batch.collected) {
      if (c.expires_at <= now) return true;
    }
  }
  return false;
}

}  // namespace

Foretold::Foretold(Model& model, const pool::Depot& depot, const Ask& ask)
    : model_(model),
      depot_(depot),
      ask_(ask),
      overdue_(is_anything_overdue(depot, model.now)),
      may_join_(pool().intake() == Intake::open && Checks::spare_dials(model, pool()) > 0) {
  const auto before = not_recounted(depot);
  foretold_ = forecast();
  const pool::Forecast again = forecast();
  expect(before == not_recounted(depot) && again.step == foretold_.step &&
             again.connection == foretold_.connection && again.cause == foretold_.cause,
         "a forecast changes nothing", ask.key.request);
  model.trace.add(model.now, "  foretold: step %llu, connection %llu, cause %llu",
                  static_cast<uint64_t>(foretold_.step), foretold_.connection.value(),
                  static_cast<uint64_t>(foretold_.cause));
}

pool::Forecast Foretold::forecast() const {
  return depot_.forecast(model_.now, model_.session(ask_.key.session)->info, pool().id());
}

void Foretold::judge(ActionSpan actions) const {
  if (overdue_ || ask_.too_much) return;  // of what its user has, a forecast knows nothing
  const bool answer = foretold_.step == Step::refuse || foretold_.step == Step::grant;
  expect(answer != depot_.waits(ask_.key.session, ask_.key.request),
         "who is foretold an answer has it, and who is not waits", ask_.key.request);
  switch (foretold_.step) {
    case Step::refuse: return judge_refusal(actions);
    case Step::grant: return judge_grant(actions);
    case Step::check: return judge_check(actions);
    case Step::join:
      expect(may_join_ || pool().count(pool::State::resetting) > 0,
             "only a dial, check or reset that nobody needs is foretold", ask_.pool);
      return judge_refill(actions);
    case Step::dial: return judge_dial(actions);
    case Step::replace:
    case Step::evict: return judge_close(actions);
    case Step::wait:
      expect(!may_join_, "a dial that nobody needs is foretold", ask_.pool);
      expect(actions.empty() || pool_model().policy.balance == pool::Balance::failover,
             "nothing is done for who is foretold that he waits", ask_.pool);
      return judge_cause();
  }
}

void Foretold::judge_refusal(ActionSpan actions) const {
  const auto* refuse = only<Refuse>(actions);
  expect(refuse != nullptr && refuse->request_id == ask_.key.request,
         "nothing but the refusal comes of who is foretold one", ask_.key.request);
  expect(foretold_.refusal && foretold_.refusal->code == refuse->refusal.code,
         "a refusal is foretold with its code", ask_.key.request);
}

void Foretold::judge_grant(ActionSpan actions) const {
  const auto* grant = actions.empty() ? nullptr : std::get_if<Grant>(&actions.front());
  expect(grant != nullptr && grant->ticket.request_id == ask_.key.request,
         "who is foretold a grant has it", ask_.key.request);
  if (grant->leases[0].slot) {
    return expect(!foretold_.connection.valid() && actions.size() == 1,
                  "nothing else comes of the slot that was foretold", ask_.pool);
  }
  expect(grant->leases[0].connection == foretold_.connection,
         "the very connection is granted that was foretold", foretold_.connection.value());
  judge_refill(actions.subspan(1));
}

// Who counted on another may claim this check as his; then more is begun for those who come after.
void Foretold::judge_check(ActionSpan actions) const {
  const auto* perform = actions.empty() ? nullptr : std::get_if<pool::Perform>(&actions.front());
  expect(perform != nullptr && perform->task == pool::Task::check &&
             perform->connection == foretold_.connection,
         "the very connection is checked that was foretold", foretold_.connection.value());
}

void Foretold::judge_dial(ActionSpan actions) const {
  const auto* dial = only<Dial>(actions);
  expect(dial != nullptr && dial->pool == pool().id(), "the dial that was foretold, and only it",
         ask_.pool);
  expect(!may_join_, "no dial is foretold beside one that nobody needs", ask_.pool);
}

// E and F differ in what is lacking. Where F takes a pool's last connection, fail_fast refuses
// those who waited there.
void Foretold::judge_close(ActionSpan actions) const {
  const auto* close = actions.empty() ? nullptr : std::get_if<Close>(&actions.front());
  expect(close != nullptr && close->connection == foretold_.connection &&
             close->reason == CloseReason::evicted,
         "the very connection is closed that was foretold", foretold_.connection.value());
  const bool evict = foretold_.step == Step::evict;
  expect(pool().wants_slot() == evict, "a close for a slot is foretold as that", ask_.pool);
  for (const Action& action : actions.subspan(1)) {
    const auto* refuse = std::get_if<Refuse>(&action);
    expect(evict && refuse != nullptr && refuse->refusal.code == Code::kUpstreamDown,
           "nothing else comes of the close that was foretold", ask_.pool);
  }
}

void Foretold::judge_cause() const {
  const bool paused = pool_model().intake == Intake::paused;
  const auto most = static_cast<size_t>(pool_model().policy.max_connections);
  expect(paused == (foretold_.cause == Cause::kPaused), "a pause is foretold", ask_.pool);
  if (paused) return;
  expect(pool().wants_slot() == (foretold_.cause == Cause::kNoSlots), "no_slots is foretold",
         ask_.pool);
  switch (foretold_.cause) {
    case Cause::kNoSlots: return;
    case Cause::kUpstreamDown:
      return expect(pool().why(model_.now).dial_failures > 0, "upstream_down after failures",
                    ask_.pool);
    case Cause::kExhausted:
      return expect((most != 0 && pool().total() >= most) ||
                        (pool_model().policy.lends_slots() && pool().waiting() > 1),
                    "exhausted at max_connections", ask_.pool);
    default: expect(false, "who waits is foretold for what", ask_.pool);
  }
}

// What was there for min_idle is taken, so it is dialled anew.
void Foretold::judge_refill(ActionSpan actions) const {
  if (actions.empty()) return;
  const auto* dial = only<Dial>(actions);
  const pool::PoolPolicy& policy = pool_model().policy;
  const bool sought = policy.min_idle > 0 || policy.balance == pool::Balance::failover;
  expect(dial != nullptr && dial->pool == pool().id() && sought,
         "only min_idle, or a better endpoint, is dialled beside what was foretold", ask_.pool);
}

}  // namespace berth::sim
