// One table of the configuration against the catalogue: each setting is read into its target, and
// what does not belong there is explained.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/accounts.h"
#include "config/catalogue.h"
#include "config/document.h"
#include "config/problem.h"
#include "config/setting.h"

namespace berth::config {

// What a table said: for checks that look at several settings at once.
class Said {
 public:
  struct Setting {
    Place place;
    bool valid;
  };

  explicit Said(Place header = {}) : header_(header) {}

  Place header() const { return header_; }
  void add(std::string_view name, Setting setting) { settings_[name] = setting; }
  bool has(std::string_view name) const { return settings_.count(name) != 0; }
  // Where the setting stands, or what brought it; line 0 if its default holds.
  Place place(std::string_view name) const;
  // The same for a message: " (line 7)", " of protocol = \"redis\" (line 3)" or " (default)".
  std::string origin(std::string_view name) const;
  // Its value, written or default, can be relied on.
  bool valid(std::string_view name) const;

  // What was not said, but stands for the protocol that was (config/presets.h).
  void bring(std::string_view name, const std::string& protocol);
  bool brought(std::string_view name) const { return brought_.count(name) != 0; }

 private:
  Place header_;
  std::map<std::string_view, Setting> settings_;     // names of the catalogue
  std::map<std::string_view, std::string> brought_;  // likewise, to the protocol
};

// A table of the file: "[pool.redis]", where it stands, and what it holds.
struct TableView {
  std::string title;
  Place place;
  const Table& entries;
};

// Why `entry` may not stand in `table`, where the settings `known` may; for its writer.
std::string explain_unknown(const Entry& entry, const TableView& table,
                            const std::vector<std::string_view>& known);

// Reads all of `table` into `target`; every problem goes to `report`. `names` are what may stand
// there, for who writes something else.
template <class T>
Said read_table(const TableView& table, const std::vector<Setting<T>>& settings, Report& report,
                Accounts& accounts, T& target, const std::vector<std::string_view>& names) {
  Said said(table.place);
  for (const Entry& entry : table.entries) {
    const Setting<T>* known = nullptr;
    for (const Setting<T>& setting : settings) {
      if (setting.name == entry.name) known = &setting;
    }
    if (known == nullptr) {
      report.problem(entry.place, explain_unknown(entry, table, names));
      continue;
    }
    Reading reading(known->name, report, accounts);
    known->kind.read(entry.value, reading, target);
    said.add(known->name, {entry.place, !reading.failed()});
  }
  return said;
}

template <class T>
Said read_table(const TableView& table, const std::vector<Setting<T>>& settings, Report& report,
                Accounts& accounts, T& target) {
  return read_table(table, settings, report, accounts, target, names_of(settings));
}

}  // namespace berth::config
