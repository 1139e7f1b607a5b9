#include "config/text.h"

#include <gtest/gtest.h>

namespace berth::config {
namespace {

using namespace std::chrono_literals;

TEST(ConfigDuration, IsANumberAndAUnit) {
  EXPECT_EQ(parse_duration("250us"), 250us);
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("5s"), 5s);
  EXPECT_EQ(parse_duration("10m"), 10min);
  EXPECT_EQ(parse_duration("3h"), 3h);
  EXPECT_EQ(parse_duration("7d"), 168h);
  EXPECT_EQ(parse_duration("0s"), 0s);
}

TEST(ConfigDuration, IsNothingElse) {
  for (const char* text :
       {"", "10", "s", "10 s", " 10s", "10s ", "-1s", "-0s", "+1s", "1.5s", "1h30m", "10S", "10sec",
        "10min", "0x10s", "10ns", "99999999999999999999s"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(ConfigDuration, ThatDoesNotFitIsRefusedInsteadOfWrapping) {
  EXPECT_NE(parse_duration("106751d"), std::nullopt);
  EXPECT_EQ(parse_duration("106752d"), std::nullopt);
  EXPECT_EQ(parse_duration("9223372036854775807d"), std::nullopt);
}

TEST(ConfigDuration, IsWrittenInTheLargestExactUnit) {
  EXPECT_EQ(duration_text(0s), "0s");
  EXPECT_EQ(duration_text(1500us), "1500us");
  EXPECT_EQ(duration_text(1500ms), "1500ms");
  EXPECT_EQ(duration_text(90s), "90s");
  EXPECT_EQ(duration_text(600s), "10m");
  EXPECT_EQ(duration_text(36h), "36h");
  EXPECT_EQ(duration_text(48h), "2d");
}

TEST(ConfigDuration, WrittenAndReadAgainIsTheSame) {
  for (const Duration duration : {0ns, 1000ns, 999000ns, Duration(1ms), Duration(59s),
                                  Duration(3601s), Duration(24h * 365)}) {
    EXPECT_EQ(parse_duration(duration_text(duration)), duration);
  }
}

TEST(ConfigSize, IsANumberAndAUnit) {
  EXPECT_EQ(parse_size("0B"), 0u);
  EXPECT_EQ(parse_size("1500B"), 1500u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("3MiB"), 3u << 20);
  EXPECT_EQ(parse_size("8GiB"), uint64_t{8} << 30);
}

TEST(ConfigSize, IsNothingElse) {
  for (const char* text : {"", "64", "KiB", "64 KiB", " 64B", "64B ", "-1B", "+1B", "1.5KiB", "64KB",
                           "64kib", "64K", "64k", "0x10B", "17179869184GiB", "99999999999999999999B"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
  EXPECT_NE(parse_size("17179869183GiB"), std::nullopt);
}

TEST(ConfigSize, IsWrittenInTheLargestExactUnit) {
  EXPECT_EQ(size_text(0), "0B");
  EXPECT_EQ(size_text(1023), "1023B");
  EXPECT_EQ(size_text(1536), "1536B");
  EXPECT_EQ(size_text(3072), "3KiB");
  EXPECT_EQ(size_text(1 << 20), "1MiB");
  EXPECT_EQ(size_text(uint64_t{1} << 40), "1024GiB");
}

TEST(ConfigMode, IsOctalPermissionBits) {
  EXPECT_EQ(parse_mode("0666"), 0666u);
  EXPECT_EQ(parse_mode("600"), 0600u);
  EXPECT_EQ(parse_mode("0000"), 0u);
  EXPECT_EQ(mode_text(0640), "0640");
  for (const char* text : {"", "7", "66", "0888", "01777", "4755", "rw-rw----", "0x1ff", "-666"}) {
    EXPECT_EQ(parse_mode(text), std::nullopt) << text;
  }
}

std::string unescaped(std::string_view text) {
  const auto bytes = unescape(text);
  if (const auto* error = std::get_if<BadEscape>(&bytes)) return "error: " + error->text;
  return std::get<std::string>(bytes);
}

TEST(ConfigEscape, GivesAnyByte) {
  EXPECT_EQ(unescaped(""), "");
  EXPECT_EQ(unescaped(R"(a\x00\xfF\\x)"), std::string("a\0\xff\\x", 5));
  EXPECT_EQ(unescaped("größe\r\n"), "größe\r\n");
}

TEST(ConfigEscape, RefusesWhatIsNone) {
  const std::string right = R"( is no escape; after TOML's own, \xHH is a byte and \\ a backslash)";
  EXPECT_EQ(unescaped(R"(a\r)"), "error: \\r" + right);
  EXPECT_EQ(unescaped(R"(\ö)"), "error: \\ö" + right);
  EXPECT_EQ(unescaped(R"(\xf)"), "error: \\x" + right);
  EXPECT_EQ(unescaped(R"(\x-1)"), "error: \\x" + right);
  EXPECT_EQ(unescaped(R"(\x0g)"), "error: \\x" + right);
  EXPECT_EQ(unescaped("\\"), "error: \\" + right);
}

TEST(ConfigEscape, IsUndone) {
  EXPECT_EQ(escape("gr\xc3\xb6\\\xc3"), "grö\\\\\\xc3");
  std::string all;
  for (int byte = 255; byte >= 0; --byte) all += static_cast<char>(byte);
  EXPECT_EQ(unescaped(escape(all)), all);
}

TEST(ConfigTomlString, EscapesWhatWouldEndIt) {
  EXPECT_EQ(toml_string(R"(a"b\c)"), R"("a\"b\\c")");
  EXPECT_EQ(toml_string(std::string("\n\x7f\0", 3)), R"("\n\u007F\u0000")");
  EXPECT_EQ(toml_string("\r\t"), R"("\r\t")");
  EXPECT_EQ(toml_string("größe"), "\"größe\"");
}

TEST(ConfigShown, ShortensALongValueBetweenItsCharacters) {
  EXPECT_EQ(shown(std::string(80, 'x')), '"' + std::string(80, 'x') + '"');
  EXPECT_EQ(shown(std::string(81, 'x')), '"' + std::string(80, 'x') + "…\"");
  EXPECT_EQ(shown(std::string(79, 'x') + "öö"), '"' + std::string(79, 'x') + "…\"");
}

TEST(ConfigAlternatives, ReadLikeASentence) {
  EXPECT_EQ(alternatives({"a"}), R"("a")");
  EXPECT_EQ(alternatives({"a", "b"}), R"("a" or "b")");
  EXPECT_EQ(alternatives({"a", "b", "c"}), R"("a", "b" or "c")");
}

}  // namespace
}  // namespace berth::config
