#include "net/dial_order.h"

#include <algorithm>

namespace berth::net {
namespace {

size_t count(const Answer& answer) {
  size_t count = 0;
  for (const Target& target : answer.targets) count += target.addresses.size();
  return count;
}

bool covers(const Answer& a, const Answer& b) {
  return std::all_of(b.targets.begin(), b.targets.end(), [&](const Target& target) {
    return std::all_of(target.addresses.begin(), target.addresses.end(),
                       [&](const SocketAddress& address) { return has_address(a, address); });
  });
}

// RFC 2782: those without weight stand first, so that they are hardly ever drawn before others.
bool comes_before(const Target* a, const Target* b) {
  if (a->priority != b->priority) return a->priority < b->priority;
  return a->weight == 0 && b->weight != 0;
}

using Targets = std::vector<const Target*>;

// The one at which the running sum of weights, from `first` on, reaches a random number; without
// any weight, any.
Targets::iterator draw(Targets::iterator first, Targets::iterator last, Random& random) {
  uint64_t sum = 0;
  for (auto at = first; at != last; ++at) sum += (*at)->weight;
  if (sum == 0) return first + static_cast<ptrdiff_t>(random.below(size_t(last - first)));
  uint64_t left = random.below(sum + 1);
  while ((*first)->weight < left) left -= (*first++)->weight;
  return first;
}

Targets by_weight(const std::vector<Target>& targets, Random& random) {
  Targets order;
  for (const Target& target : targets) order.push_back(&target);
  std::stable_sort(order.begin(), order.end(), comes_before);
  for (auto at = order.begin(); at != order.end(); ++at) {
    const auto end = std::find_if(
        at, order.end(), [&](const Target* target) { return target->priority != (*at)->priority; });
    const auto drawn = draw(at, end, random);
    std::rotate(at, drawn, drawn + 1);  // the others keep their order
  }
  return order;
}

}  // namespace

std::vector<SocketAddress> family_order(const std::vector<SocketAddress>& addresses,
                                        uint64_t turn) {
  std::vector<SocketAddress> first;
  std::vector<SocketAddress> second;
  for (const SocketAddress& address : addresses) {
    (address.family() == addresses[0].family() ? first : second).push_back(address);
  }
  std::vector<SocketAddress> order;
  for (size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) order.push_back(first[(i + turn) % first.size()]);
    if (i < second.size()) order.push_back(second[(i + turn) % second.size()]);
  }
  return order;
}

std::vector<Place> dial_order(const std::vector<Target>& targets, uint64_t turn, Random& random) {
  std::vector<Place> order;
  for (const Target* target : by_weight(targets, random)) {
    for (const SocketAddress& address : family_order(target->addresses, turn)) {
      order.push_back({address, target->priority});
    }
  }
  return order;
}

bool same_addresses(const Answer& a, const Answer& b) {
  return count(a) == count(b) && covers(a, b) && covers(b, a);
}

bool has_address(const Answer& answer, const SocketAddress& address) {
  return std::any_of(answer.targets.begin(), answer.targets.end(), [&](const Target& target) {
    return std::find(target.addresses.begin(), target.addresses.end(), address) !=
           target.addresses.end();
  });
}

}  // namespace berth::net
