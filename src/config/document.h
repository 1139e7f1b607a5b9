// A TOML document as plain values with their places. Hides the TOML library, which is slow to
// compile, behind document.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/problem.h"

namespace berth::config {

struct Entry;
struct Value;

struct DateOrTime {};
using Array = std::vector<Value>;
using Table = std::vector<Entry>;  // in the order of the file

struct Value {
  Place place;
  std::variant<std::string, int64_t, double, bool, DateOrTime, Array, Table> data;

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
};

struct Entry {
  std::string name;
  Place place;  // of the name
  Value value;
};

struct SyntaxError {
  Place place;
  std::string text;
};

// The whole document as one table. Any bytes may come in.
std::variant<Table, SyntaxError> parse_toml(std::string_view text);

// A value in few words, for "found …": "lots" in quotes, 12, true, an array, a table.
std::string describe(const Value& value);

}  // namespace berth::config
