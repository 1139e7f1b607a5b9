#include "broker/lookups.h"

#include <memory>
#include <utility>

#include "net/resolve.h"

namespace berth::broker {

void Lookups::ask(const Question& question, std::function<void(net::Answer)> done) {
  if (question.by == pool::ResolveBy::dns) return dns_.ask(question.endpoint, std::move(done));
  const auto answer = std::make_shared<net::Answer>();
  loop_.run_on_worker(
      [answer, endpoint = question.endpoint] { *answer = net::resolve_blocking(endpoint); },
      [answer, done = std::move(done)] { done(std::move(*answer)); });
}

}  // namespace berth::broker
