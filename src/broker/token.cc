#include "broker/token.h"

#include <sys/random.h>

#include <charconv>

#include "base/check.h"

namespace berth::broker {

Token random_token() {
  Token token;
  const ssize_t got = getrandom(token.data(), token.size(), 0);
  BERTH_CHECK(got == static_cast<ssize_t>(token.size()), "the kernel has random bytes");
  return token;
}

std::optional<Token> token_from_hex(std::string_view hex) {
  Token token;
  if (hex.size() != 2 * token.size()) return std::nullopt;
  for (size_t i = 0; i < token.size(); ++i) {
    const char* digits = hex.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, token[i], 16);
    if (error != std::errc{} || end != digits + 2) return std::nullopt;
  }
  return token;
}

}  // namespace berth::broker
