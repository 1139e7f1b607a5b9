// Question: a name whose addresses are wanted, and how they are found and used.
#pragma once

#include <utility>

#include "base/endpoint.h"
#include "base/time.h"
#include "pool/policy.h"

namespace berth::broker {

struct Question {
  Endpoint endpoint;
  pool::ResolveBy by = pool::ResolveBy::system;
  Duration refresh = std::chrono::seconds(30);  // 0: an answer is kept until it proves useless
  bool in_turn = true;  // each dial begins with the next address; else with the first

  friend bool operator==(const Question&, const Question&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Question& question) {
    return H::combine(std::move(h), question.endpoint.host, question.endpoint.port, question.by,
                      question.refresh.count(), question.in_turn);
  }
};

}  // namespace berth::broker
