// Lookups: asks the system's resolver on a worker, or name servers on the loop, as the question
// says.
//
// Loop thread only.
#pragma once

#include <functional>

#include "broker/dns_client.h"
#include "broker/question.h"
#include "loop/loop.h"
#include "net/answer.h"

namespace berth::broker {

class Lookups {
 public:
  explicit Lookups(loop::Loop& loop) : loop_(loop), dns_(loop) {}

  // `done` is called once, perhaps from within ask(), and perhaps when this is gone.
  void ask(const Question& question, std::function<void(net::Answer)> done);

 private:
  loop::Loop& loop_;
  DnsClient dns_;
};

}  // namespace berth::broker
