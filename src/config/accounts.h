// Accounts: names of users and groups to numeric ids, each looked up once.
//
// Blocking: a name may be answered over the network (nsswitch.conf). One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace berth::config {

// An id, or what is wrong with the name, in words.
using FoundId = std::variant<uint32_t, std::string>;

class Accounts {
 public:
  enum class Kind { user, group };

  // The id of a name, or of a decimal number that is nobody's name.
  FoundId find(Kind kind, std::string_view name);

 private:
  std::map<std::pair<Kind, std::string>, FoundId> known_;
};

// The highest id that a user or group can have; the next one means "no id" to the kernel.
inline constexpr int64_t kMaxAccountId = 0xfffffffe;

// "user" or "group".
std::string word_for(Accounts::Kind kind);

// "" if the id is nobody's.
std::string name_of(Accounts::Kind kind, uint32_t id);

}  // namespace berth::config
