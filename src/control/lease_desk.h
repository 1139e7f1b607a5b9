// LeaseDesk: the loop's side of berth.v1.Leases: finds the session that a call names, and passes
// the request on to it.
//
// Loop thread only.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>

#include "broker/broker.h"
#include "wire/session_frames.h"

namespace berth::control {

// Who calls, and for which session.
struct Caller {
  uint32_t uid = 0;
  broker::Token session{};
};

class LeaseDesk {
 public:
  explicit LeaseDesk(broker::Broker& broker) : broker_(broker) {}

  // The frame that answers, or a status: the caller may not speak for the session, or it is over.
  using Answer = absl::StatusOr<wire::ServerFrame>;
  // `answered` is called once, at once or later; see broker::Session.
  void lease(const Caller& caller, const wire::LeaseRequest& request,
             broker::Session::Answered answered);
  // Of a request that has no answer yet.
  void withdraw(const Caller& caller, uint64_t request_id);
  // Its call was cancelled; the session is told.
  void revoke(const wire::Grant& grant);
  Answer release(const Caller& caller, const wire::Release& release);
  Answer list_keys(const Caller& caller, const wire::ListKeys& list);

 private:
  absl::StatusOr<broker::Session*> session_of(const Caller& caller);

  broker::Broker& broker_;
};

}  // namespace berth::control
