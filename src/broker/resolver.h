// Resolver: the addresses of names: looks them up, and knows them for a while.
//
// Loop thread only. One lookup at a time answers a question; whoever asks meanwhile joins it. An
// answer is kept for the question's `refresh`, or for its TTL if that is shorter, and no longer
// once a dial to all of its addresses has failed. While connections use a name it is looked up
// again when its answer expires, and those whose address it has no more are told of.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/list.h"
#include "base/random.h"
#include "broker/question.h"
#include "broker/upstreams.h"
#include "loop/loop.h"
#include "loop/timer.h"
#include "net/answer.h"
#include "net/dial_order.h"

namespace berth::broker {

// What is known of a name. Only the resolver writes it.
struct KnownName {
  explicit KnownName(Question asked) : question(std::move(asked)) {}

  enum class Lookup : uint8_t { none, asked_for, refresh };

  const Question question;
  net::Answer answer;            // the last good one
  TimePoint expires_at{};        // until then the answer stands
  TimePoint retry_at{};          // after a failure: no refresh before
  uint64_t turn = 0;             // dials so far
  Lookup lookup = Lookup::none;  // under way
  std::vector<std::function<void(absl::StatusOr<std::vector<net::Place>>)>> askers;
  List<Upstream, &Upstream::name_link> users;
  ListLink<KnownName> idle_link;
  TimePoint due = kNever;  // as it stands in Resolver's index
};

class Resolver {
 public:
  // Answers a question once, perhaps at once; looks nothing up that is known already.
  using Lookup = std::function<void(const Question&, std::function<void(net::Answer)>)>;
  // This connection's address is no longer one of its name's.
  using Gone = std::function<void(ConnectionId)>;
  Resolver(loop::Loop& loop, Lookup lookup, Gone gone, uint64_t seed);
  ~Resolver();

  // Addresses in the order in which they are to be dialled, or why there is none; perhaps from
  // within ask().
  using Found = absl::StatusOr<std::vector<net::Place>>;
  using Callback = std::function<void(Found)>;
  void ask(const Question& question, Callback callback);
  // None of the addresses could be reached: who asks next gets new ones.
  void distrust(const Question& question);

  // The connection was dialled to an address of this name, and is to be told of until leave().
  void use(Upstream& upstream, const Question& question);
  // No effect if it uses none.
  void leave(Upstream& upstream);

  // Names that are known, for tests.
  size_t size() const { return names_.size(); }

 private:
  KnownName& find(const Question& question);
  void look_up(KnownName& name);
  void answered(const Question& question, net::Answer answer);
  void failed(KnownName& name, const std::string& error);
  std::vector<ConnectionId> take(KnownName& name, net::Answer answer);
  Found addresses_of(KnownName& name);
  void changed(KnownName& name);
  TimePoint due_at(const KnownName& name) const;
  void refresh();
  void arm();

  loop::Loop& loop_;
  Lookup lookup_;
  Gone gone_;
  Random random_;
  absl::flat_hash_map<Question, std::unique_ptr<KnownName>> names_;
  List<KnownName, &KnownName::idle_link> idle_;  // neither used nor looked up; asked last, last
  absl::btree_set<std::pair<TimePoint, KnownName*>> due_;  // used ones, by the end of their answer
  size_t refreshing_ = 0;                                  // lookups that nobody asked for
  loop::Timer timer_;
  // Tells lookups whether the resolver is still there.
  std::shared_ptr<Resolver*> self_;
};

}  // namespace berth::broker
