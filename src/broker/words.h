// Refusals in words: what the policy decided, as a frame that a person can act on (rule 11).
#pragma once

#include <string>

#include "pool/actions.h"
#include "wire/session_frames.h"

namespace berth::broker {

// Reads /proc for the commands of the holders; off the fast path.
wire::Refusal explain(uint64_t request_id, const pool::Refusal& refusal, uint32_t uid);

// What a request waits for.
std::string explain(const pool::Why& why);
wire::Why frame_of(const pool::Why& why);
std::string no_such_lease_text(uint64_t lease_id);

// Why a lease was taken away.
const char* explain(pool::Revoke::Cause cause);

}  // namespace berth::broker
