// Balancer: which address carries the next stream, of those that have a channel with room.
#pragma once

#include <cstddef>

#include "base/list.h"
#include "channel/policy.h"
#include "channel/subchannel.h"

namespace berth::channel {

class Balancer {
 public:
  // Takes the address in or out, as it has room or not.
  void note_room(Subchannel& subchannel);
  bool empty() const { return offers_.empty(); }

  // nullptr: no address has room. `avoid`, which may be nullptr, only if it is alone. In turn among
  // equals.
  Subchannel* choose(Balance balance, const Subchannel* avoid);
  // Of the address, the channel with the fewest streams; `avoid` only if it is alone.
  static Channel& channel_of(const Subchannel& subchannel, const Channel* avoid);

 private:
  using Offers = List<Subchannel, &Subchannel::offer_link>;

  // Requires: another one than `avoid` has room.
  Subchannel* first(const Subchannel* avoid) const;
  Subchannel* least(const Subchannel* avoid) const;

  Offers offers_;  // the one chosen longest ago is first
};

}  // namespace berth::channel
