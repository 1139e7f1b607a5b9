#include "config/table_reader.h"

#include <algorithm>

#include "base/nearest.h"
#include "config/later.h"
#include "config/text.h"

namespace berth::config {
namespace {

constexpr std::string_view kPoolTitle = "[pool.";

bool contains(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string listed(const std::vector<std::string_view>& names) {
  std::string out;
  for (const std::string_view name : names) out.append(out.empty() ? "" : ", ").append(name);
  return out;
}

// The other table that has a setting of this name, or "".
std::string home_of(std::string_view name) {
  if (contains(names_of(daemon_settings()), name)) return "[daemon]";
  return contains(names_of(pool_settings()), name) ? "[pool.NAME]" : "";
}

}  // namespace

Place Said::place(std::string_view name) const {
  const auto found = settings_.find(brought(name) ? "protocol" : name);
  return found != settings_.end() ? found->second.place : Place{};
}

std::string Said::origin(std::string_view name) const {
  const int line = place(name).line;
  if (line == 0) return " (default)";
  const auto by = brought_.find(name);
  const std::string of =
      by != brought_.end() ? " of protocol = " + toml_string(by->second) : std::string();
  return of + " (line " + std::to_string(line) + ")";
}

void Said::bring(std::string_view name, const std::string& protocol) {
  brought_.emplace(name, protocol);
}

bool Said::valid(std::string_view name) const {
  const auto found = settings_.find(name);
  return found == settings_.end() || found->second.valid;
}

std::string explain_unknown(const Entry& entry, const TableView& table,
                            const std::vector<std::string_view>& known) {
  if (is_later_setting(entry.name)) return "setting " + shown(entry.name) + kNotYet;
  if (const std::string home = home_of(entry.name); !home.empty()) {
    return "setting " + shown(entry.name) + " belongs into " + home + ", not into " + table.title;
  }
  const std::string unknown = "unknown setting " + shown(entry.name) + " in " + table.title;
  if (entry.value.get<Table>() != nullptr && table.title.starts_with(kPoolTitle)) {
    const std::string pool = table.title.substr(kPoolTitle.size());
    return unknown + "; a pool name with dots stands in quotes: [pool." +
           toml_string(pool.substr(0, pool.size() - 1) + "." + entry.name) + "]";
  }
  const std::string meant = nearest(entry.name, known);
  if (!meant.empty()) return unknown + "; did you mean " + shown(meant) + "?";
  return unknown + "; it may hold " + listed(known);
}

}  // namespace berth::config
