// Token: 16 random bytes that name a session where its frames do not: on the control socket.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace berth::broker {

using Token = std::array<uint8_t, 16>;

Token random_token();

// Two digits for each byte, of either case. Nothing if that is not what `hex` is.
std::optional<Token> token_from_hex(std::string_view hex);

}  // namespace berth::broker
