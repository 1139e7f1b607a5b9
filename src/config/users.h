// Users: user names to numeric ids, each looked up once.
//
// Blocking: a name may be answered over the network (nsswitch.conf). One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

namespace berth::config {

class Users {
 public:
  // The id of a name, or of a decimal number that is nobody's name; else what is wrong, in words.
  std::variant<uint32_t, std::string> find(std::string_view name);

 private:
  std::map<std::string, std::variant<uint32_t, std::string>, std::less<>> known_;
};

// The highest id that a user can have; the next one means "no id" to the kernel.
inline constexpr int64_t kMaxUid = 0xfffffffe;

// "" if the id is nobody's.
std::string user_name(uint32_t uid);

}  // namespace berth::config
