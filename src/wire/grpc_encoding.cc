#include "wire/grpc_encoding.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace berth::wire {
namespace {

constexpr std::string_view kEncoding = "grpc-encoding";
constexpr std::string_view kAccepted = "grpc-accept-encoding";
constexpr std::string_view kSpace = " \t";

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

bool names(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (trimmed(list.substr(0, comma)) == name) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

bool has_grpc_messages(const Http2Headers& headers) {
  constexpr std::string_view kType = "application/grpc";
  const Http2Field* type = headers.find("content-type");
  if (type == nullptr || !type->value.starts_with(kType)) return false;
  const std::string_view rest = type->value.substr(kType.size());
  return rest.empty() || rest[0] == '+' || rest[0] == ';';
}

bool is_compressed(const Http2Headers& headers) {
  return headers.find(kEncoding) != nullptr && !is_compressed_by(Compression::none, headers);
}

bool is_compressed_by(Compression compression, const Http2Headers& headers) {
  const Http2Field* encoding = headers.find(kEncoding);
  return encoding != nullptr && encoding->value == name_of(compression);
}

void set_compression(Compression compression, Http2Headers& headers) {
  headers.set(kEncoding, name_of(compression), Http2Headers::Text::outlives);
}

bool accepts(Compression compression, const Http2Headers& request) {
  return std::ranges::any_of(request.fields(), [=](const Http2Field& field) {
    return field.name == kAccepted && names(field.value, name_of(compression));
  });
}

void add_accepted(Compression compression, Http2Headers& request) {
  const Http2Field* accepted = request.find(kAccepted);
  const std::string before(accepted != nullptr ? accepted->value : name_of(Compression::none));
  request.set(kAccepted, before + "," + std::string(name_of(compression)));
}

}  // namespace berth::wire
