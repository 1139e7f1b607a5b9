// Values as berthctl prints them.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

namespace berth::ctl {

enum class Json { pretty, line };

// To standard output, as berthctl(8) describes it.
absl::Status print_json(const google::protobuf::Message& message, Json style = Json::pretty);

std::string number(uint64_t value);

// "3: 2 idle, 1 closing", in that order and without what is 0.
std::string sum_of(std::initializer_list<std::pair<uint32_t, const char*>> parts);

// "3 connections"
std::string count_of(uint64_t count, const char* thing);

// One word, as every cell that a script may look at: "12ms".
std::string time(uint64_t ms);

std::string or_dash(const std::string& text);

// STATE_NAME -> state_name, without `prefix` letters.
std::string word(std::string name, size_t prefix = 0);

// The login name, or the number.
std::string user(uint32_t uid);

}  // namespace berth::ctl
