#include "channel/balancer.h"

#include "base/check.h"

namespace berth::channel {

void Balancer::note_room(Subchannel& subchannel) {
  const bool stands_in = offers_.contains(subchannel);
  if (stands_in != subchannel.with_room.empty()) return;
  if (stands_in) {
    offers_.remove(subchannel);
  } else {
    offers_.push_back(subchannel);
  }
}

Subchannel* Balancer::choose(Balance balance, const Subchannel* avoid) {
  Subchannel* chosen = offers_.front();
  if (chosen == nullptr || offers_.size() == 1) return chosen;
  switch (balance) {
    case Balance::round_robin:
      if (chosen == avoid) chosen = Offers::next(*chosen);
      break;
    case Balance::least_streams: chosen = least(avoid); break;
    case Balance::failover: return first(avoid);
  }
  offers_.remove(*chosen);
  offers_.push_back(*chosen);
  return chosen;
}

Subchannel* Balancer::least(const Subchannel* avoid) const {
  Subchannel* least = nullptr;
  for (Subchannel& each : offers_) {
    if (&each == avoid) continue;
    if (least == nullptr || each.streams < least->streams) least = &each;
  }
  return least;
}

Subchannel* Balancer::first(const Subchannel* avoid) const {
  Subchannel* first = nullptr;
  for (Subchannel& each : offers_) {
    if (&each == avoid) continue;
    if (first == nullptr || each.rank < first->rank) first = &each;
  }
  return first;
}

Channel& Balancer::channel_of(const Subchannel& subchannel, const Channel* avoid) {
  Channel* fewest = nullptr;
  for (Channel& each : subchannel.with_room) {
    if (&each == avoid && subchannel.with_room.size() > 1) continue;
    if (fewest == nullptr || each.streams.size() < fewest->streams.size()) fewest = &each;
  }
  BERTH_CHECK(fewest != nullptr, "a channel is chosen where one has room");
  return *fewest;
}

}  // namespace berth::channel
