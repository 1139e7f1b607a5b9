// Secret: bytes, such as a password, that reach no log and no core dump.
//
// They live in memory of their own that is left out of core dumps, is not swapped out where the
// process may lock it, cannot be written to, and is wiped before it is given back. A copy shares
// that memory. There is no way to print a Secret; who calls bytes() sees to it that they go where
// they belong and nowhere else. Any thread.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"

namespace berth {

class Secret {
 public:
  Secret() = default;  // empty

  // A copy of `bytes`, for secrets that do not come from a file. Requires: kMaxSecretBytes at most.
  static Secret of(std::string_view bytes);

  // `size` bytes that `write` puts where they stay, so that there is no other copy. Requires: as
  // above.
  static Secret made(size_t size, const std::function<void(char* out)>& write);

  // What the file holds, less one line break at the end: 1 to `most` bytes, of a regular file that
  // only its owner may read or write, who is root or this process's user; or root's, which its
  // group may read too. An error names the path, what is wrong and what would be right. Blocking.
  static absl::StatusOr<Secret> from_file(const std::string& path, size_t most = kMaxSecretBytes);

  bool empty() const { return bytes().empty(); }
  std::string_view bytes() const;  // valid as long as this or a copy is there

  friend bool operator==(const Secret& a, const Secret& b) { return a.bytes() == b.bytes(); }

 private:
  class Memory;

  explicit Secret(std::shared_ptr<const Memory> memory) : memory_(std::move(memory)) {}

  std::shared_ptr<const Memory> memory_;
};

// A secret that a setting names by its file.
struct FiledSecret {
  std::string path;  // as it is written; empty: there is none
  Secret secret;

  friend bool operator==(const FiledSecret&, const FiledSecret&) = default;
};

}  // namespace berth
