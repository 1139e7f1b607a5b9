// The kinds of settings: rules that read one type of value, check its bounds and write it.
//
// A rule R has `std::optional<V> read(const Value&, Reading&) const`, which answers nothing after
// it told `reading` why, `std::string write(V) const`, and `std::string bounds() const`. field()
// ties a rule to the member in which the value lands.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/endpoint.h"
#include "base/endpoint_pattern.h"
#include "base/file_owner.h"
#include "base/keepalive.h"
#include "base/proxy.h"
#include "config/accounts.h"
#include "config/setting.h"
#include "config/text.h"

namespace berth::config {

// A whole number from min to max.
struct Whole {
  std::string_view unit;  // "connections": for messages
  int64_t min;
  int64_t max;

  std::optional<int64_t> read(const Value& value, Reading& reading) const;
  std::string write(int64_t number) const { return std::to_string(number); }
  std::string bounds() const;
};

enum class NoneIs { refused, allowed };

// A whole number from 1 to max, or "unlimited" (0), or, where allowed, "none" (-1).
struct Limit {
  std::string_view unit;
  int64_t max;
  NoneIs none;

  std::optional<int64_t> read(const Value& value, Reading& reading) const;
  template <class Number>
  std::string write(Number number) const {
    return words(static_cast<int64_t>(number));
  }
  std::string bounds() const;

 private:
  std::string words(int64_t number) const;
  std::string expected() const;
};

enum class ZeroIs { refused, allowed, never };

// A duration from min to max. Where zero is "never", the word and 0 may stand for it.
struct Time {
  Duration min;
  Duration max;
  ZeroIs zero;

  std::optional<Duration> read(const Value& value, Reading& reading) const;
  std::string write(Duration duration) const;
  std::string bounds() const;

 private:
  std::optional<Duration> parse(const Value& value) const;
};

// Bytes from min to max, as "64KiB".
struct Size {
  uint64_t min;
  uint64_t max;

  std::optional<uint64_t> read(const Value& value, Reading& reading) const;
  std::string write(uint64_t bytes) const { return toml_string(size_text(bytes)); }
  std::string bounds() const { return size_text(min) + " to " + size_text(max); }
};

// "IDLE/INTERVAL/COUNT", such as "15s/5s/3", or "off".
struct KeepaliveTimes {
  std::optional<Keepalive> read(const Value& value, Reading& reading) const;
  std::string write(const Keepalive& keepalive) const;
  std::string bounds() const { return {}; }
};

// An IPv4 or IPv6 address, or "".
struct AddressLiteral {
  std::optional<std::string> read(const Value& value, Reading& reading) const;
  std::string write(const std::string& address) const { return toml_string(address); }
  std::string bounds() const { return {}; }
};

// The name of a network interface, or "".
struct InterfaceName {
  std::optional<std::string> read(const Value& value, Reading& reading) const;
  std::string write(const std::string& name) const { return toml_string(name); }
  std::string bounds() const { return {}; }
};

struct Flag {
  std::optional<bool> read(const Value& value, Reading& reading) const;
  std::string write(bool flag) const { return flag ? "true" : "false"; }
  std::string bounds() const { return {}; }
};

// A word that berth knows but does not have yet, and what it waits for ("" if nothing to say).
struct LaterWord {
  std::string_view word;
  std::string_view why;
};

// The place of a text in `words`, or nothing after telling `reading` why.
std::optional<size_t> read_word(const Value& value, const std::vector<std::string_view>& words,
                                const std::vector<LaterWord>& later, Reading& reading);

// One of a few words, each with the value that it means.
template <class V>
struct Words {
  std::vector<std::string_view> words;
  std::vector<V> values;
  std::vector<LaterWord> later = {};

  std::optional<V> read(const Value& value, Reading& reading) const {
    const std::optional<size_t> index = read_word(value, words, later, reading);
    return index ? std::optional<V>(values[*index]) : std::nullopt;
  }
  std::string write(const V& wanted) const {
    size_t index = 0;
    while (index + 1 < values.size() && values[index] != wanted) ++index;
    return toml_string(words[index]);
  }
  std::string bounds() const { return alternatives(words); }
};

// The absolute path of a Unix socket.
struct SocketPath {
  std::optional<std::string> read(const Value& value, Reading& reading) const;
  std::string write(const std::string& path) const { return toml_string(path); }
  std::string bounds() const { return {}; }
};

// Permission bits as a string of octal digits.
struct FileMode {
  std::optional<mode_t> read(const Value& value, Reading& reading) const;
  std::string write(mode_t mode) const { return toml_string(mode_text(mode)); }
  std::string bounds() const { return {}; }
};

// To whom a file is given, as chown(1) is told: "USER", "USER:GROUP" or ":GROUP"; "" for the
// daemon's own.
struct Owner {
  std::optional<FileOwner> read(const Value& value, Reading& reading) const;
  std::string write(const FileOwner& owner) const;
  std::string bounds() const { return {}; }
};

// The host that a certificate must name: a name or an address, or "".
struct ServerName {
  std::optional<std::string> read(const Value& value, Reading& reading) const;
  std::string write(const std::string& name) const { return toml_string(name); }
  std::string bounds() const { return {}; }
};

// An array of protocols of TLS's ALPN, each once.
struct ProtocolList {
  std::optional<std::vector<std::string>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<std::string>& protocols) const;
  std::string bounds() const { return {}; }
};

// An array of names of pools, each once.
struct KeyList {
  std::optional<std::vector<std::string>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<std::string>& keys) const;
  std::string bounds() const { return {}; }
};

// An array of endpoints, each once; slot: alone.
struct EndpointList {
  std::optional<std::vector<Endpoint>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<Endpoint>& endpoints) const;
  std::string bounds() const { return {}; }
};

// The URL of a proxy, or "none".
struct ProxyUrl {
  std::optional<std::optional<Proxy>> read(const Value& value, Reading& reading) const;
  std::string write(const std::optional<Proxy>& proxy) const;
  std::string bounds() const { return {}; }
};

// An array of patterns of endpoints (base/endpoint_pattern.h).
struct EndpointPatternList {
  std::optional<std::vector<EndpointPattern>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<EndpointPattern>& patterns) const;
  std::string bounds() const { return {}; }
};

// An array of names of users or groups and of numeric ids, which is kept as ids, each once.
struct AccountList {
  Accounts::Kind kind;

  std::optional<std::vector<uint32_t>> read(const Value& value, Reading& reading) const;
  std::string write(const std::vector<uint32_t>& ids) const;
  std::string bounds() const { return {}; }

 private:
  std::string expected() const;
  std::optional<uint32_t> read_one(const Value& value, Reading& reading) const;
};

template <class T, class Member, class Rule>
Kind<T> field(Member T::*member, Rule rule) {
  return {[=](const Value& value, Reading& reading, T& target) {
            if (auto read = rule.read(value, reading)) {
              target.*member = static_cast<Member>(*std::move(read));
            }
          },
          [=](const T& target) { return rule.write(target.*member); }, rule.bounds()};
}

// Of a member that has settings itself.
template <class T, class Part>
Kind<T> within(Part T::*part, Kind<Part> kind) {
  return {[=, read = std::move(kind.read)](const Value& value, Reading& reading, T& target) {
            read(value, reading, target.*part);
          },
          [=, write = std::move(kind.write)](const T& target) { return write(target.*part); },
          std::move(kind.bounds)};
}

// Of a member of a member.
template <class T, class Part, class Member, class Rule>
Kind<T> field(Part T::*part, Member Part::*member, Rule rule) {
  return within(part, field(member, std::move(rule)));
}

}  // namespace berth::config
