#include "ctl/print.h"

#include <google/protobuf/util/json_util.h>
#include <pwd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <map>

#include "base/time.h"

namespace berth::ctl {

absl::Status print_json(const google::protobuf::Message& message, Json style) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = style == Json::pretty;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return absl::InternalError("cannot write JSON: " + status.ToString());
  if (style == Json::line) text += '\n';
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

std::string number(uint64_t value) {
  return std::to_string(value);
}

std::string sum_of(std::initializer_list<std::pair<uint32_t, const char*>> parts) {
  std::string text;
  uint64_t sum = 0;
  for (const auto& [count, name] : parts) {
    sum += count;
    if (count > 0) text += (text.empty() ? ": " : ", ") + number(count) + " " + name;
  }
  return number(sum) + text;
}

std::string count_of(uint64_t count, const char* thing) {
  return number(count) + " " + thing + (count == 1 ? "" : "s");
}

std::string time(uint64_t ms) {
  std::string text = format_duration(std::chrono::milliseconds(static_cast<int64_t>(ms)));
  std::erase(text, ' ');
  return text;
}

std::string or_dash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string word(std::string name, size_t prefix) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.substr(prefix);
}

std::string user(uint32_t uid) {
  static std::map<uint32_t, std::string> names;
  std::string& name = names[uid];
  if (name.empty()) {
    const passwd* entry = getpwuid(uid);
    name = entry != nullptr ? entry->pw_name : number(uid);
  }
  return name;
}

}  // namespace berth::ctl
