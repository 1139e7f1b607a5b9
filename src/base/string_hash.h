// StringHash: lets a flat_hash_map keyed by std::string be searched by std::string_view (Debian's
// absl::string_view is another type).
#pragma once

#include <functional>
#include <string_view>

namespace berth {

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

}  // namespace berth
