#include "control/lease_desk.h"

#include <utility>

#include "broker/words.h"

namespace berth::control {

absl::StatusOr<broker::Session*> LeaseDesk::session_of(const Caller& caller) {
  broker_.driver().new_moment();
  broker::Session* session = broker_.sessions().find(caller.session);
  if (session == nullptr) {
    if (broker_.driver().depot().stopping()) return absl::UnavailableError("berthd is stopping");
    return absl::UnauthenticatedError(
        "berth-session names no session of this berthd; one ends with its socket, and with the "
        "process that opened it");
  }
  if (session->peer().uid == caller.uid) return session;
  return absl::PermissionDeniedError("berth-session names a session of another user");
}

void LeaseDesk::lease(const Caller& caller, const wire::LeaseRequest& request,
                      broker::Session::Answered answered) {
  const absl::StatusOr<broker::Session*> session = session_of(caller);
  if (!session.ok()) return answered(session.status());
  (*session)->lease(request, std::move(answered));
}

void LeaseDesk::withdraw(const Caller& caller, uint64_t request_id) {
  const absl::StatusOr<broker::Session*> session = session_of(caller);
  if (session.ok()) (*session)->withdraw(request_id);
}

void LeaseDesk::revoke(const wire::Grant& grant) {
  for (const wire::GrantedLease& granted : grant.leases) {
    broker_.driver().revoke(LeaseId::from_value(granted.lease_id), pool::Revoke::Cause::cancelled);
  }
}

LeaseDesk::Answer LeaseDesk::release(const Caller& caller, const wire::Release& release) {
  const absl::StatusOr<broker::Session*> session = session_of(caller);
  if (!session.ok()) return session.status();
  if ((*session)->release(release)) return wire::Released{release.request_id, Code::kOk, ""};
  return wire::Refusal{
      release.request_id, Code::kNoSuchLease, broker::no_such_lease_text(release.lease_id), {}};
}

LeaseDesk::Answer LeaseDesk::list_keys(const Caller& caller, const wire::ListKeys& list) {
  const absl::StatusOr<broker::Session*> session = session_of(caller);
  if (!session.ok()) return session.status();
  return (*session)->list_keys(list);
}

}  // namespace berth::control
