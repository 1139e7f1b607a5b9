#include "config/load.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/limits.h"
#include "base/nearest.h"
#include "config/catalogue.h"
#include "config/contradictions.h"
#include "config/document.h"
#include "config/files.h"
#include "config/later.h"
#include "config/table_reader.h"
#include "config/text.h"

namespace berth::config {
namespace {

enum class Role { main_file, pools_file };

struct PoolPlace {
  std::string file;
  int line;
};

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_pool_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxKeyBytes &&
         std::all_of(name.begin(), name.end(), is_key_char);
}

// Why `entry` may not stand outside of all tables but [daemon] and [pool.NAME].
std::string explain_top_level(const Entry& entry) {
  constexpr std::string_view kTables[] = {"daemon", "pool"};
  if (is_later_table(entry.name)) return "table [" + entry.name + "]" + kNotYet;
  if (entry.value.get<Table>() == nullptr && entry.value.get<Array>() == nullptr) {
    return "setting " + shown(entry.name) +
           " stands outside of a table; write it below [daemon] or [pool.NAME]";
  }
  const std::string meant = nearest(entry.name, std::span(kTables));
  const std::string unknown = "unknown table " + shown(entry.name);
  if (meant == "daemon") return unknown + "; did you mean [daemon]?";
  if (meant == "pool") return unknown + "; did you mean [pool.NAME]?";
  return unknown + "; there may be [daemon] and [pool.NAME]";
}

class Loader {
 public:
  explicit Loader(const LoadOptions& options) : options_(options) {
    loaded_.settings = default_settings(options);
  }

  Loaded run() {
    read_main_file();
    read_pools_dir();
    if (daemon_) {
      Report report(options_.main_file, loaded_.problems, loaded_.warnings);
      check_totals(loaded_.settings, *daemon_, report);
    }
    sort(loaded_.problems);
    sort(loaded_.warnings);
    return std::move(loaded_);
  }

 private:
  void read_main_file() {
    if (options_.main_file.empty()) return;
    auto text = read_text(options_.main_file);
    const auto* error = std::get_if<FileError>(&text);
    if (error != nullptr && error->missing && !options_.main_file_named) return;
    read_file(options_.main_file, std::move(text), Role::main_file);
  }

  void read_pools_dir() {
    if (options_.pools_dir.empty()) return;
    const auto paths = toml_files(options_.pools_dir);
    if (const auto* error = std::get_if<FileError>(&paths)) {
      if (!error->missing) loaded_.problems.push_back({options_.pools_dir, 0, 0, error->text});
      return;
    }
    for (const std::string& path : std::get<std::vector<std::string>>(paths)) {
      read_file(path, read_text(path), Role::pools_file);
    }
  }

  void read_file(const std::string& path, std::variant<std::string, FileError> text, Role role) {
    Report report(path, loaded_.problems, loaded_.warnings);
    loaded_.files.push_back(path);
    if (const auto* error = std::get_if<FileError>(&text)) {
      report.problem({}, error->text);
      return;
    }
    const auto document = parse_toml(std::get<std::string>(text));
    if (const auto* error = std::get_if<SyntaxError>(&document)) {
      report.problem(error->place, error->text);
      return;
    }
    for (const Entry& entry : std::get<Table>(document)) read_top_level(entry, role, report);
  }

  void read_top_level(const Entry& entry, Role role, Report& report) {
    if (entry.name == "pool") {
      read_pools(entry, report);
    } else if (entry.name == "daemon" && role == Role::pools_file) {
      report.problem(entry.place,
                     "[daemon] stands in the main file only; this file may hold "
                     "[pool.NAME] tables");
    } else if (entry.name == "daemon") {
      read_daemon(entry, report);
    } else {
      report.problem(entry.place, explain_top_level(entry));
    }
  }

  void read_daemon(const Entry& entry, Report& report) {
    const Table* table = entry.value.get<Table>();
    if (table == nullptr) {
      report.problem(entry.place,
                     "daemon must be a table, [daemon]; found " + describe(entry.value));
      return;
    }
    daemon_ = read_table({"[daemon]", entry.place, *table}, daemon_settings(), report, users_,
                         loaded_.settings.daemon);
  }

  void read_pools(const Entry& entry, Report& report) {
    const Table* table = entry.value.get<Table>();
    if (table == nullptr) {
      report.problem(entry.place,
                     "pool must hold tables, [pool.NAME]; found " + describe(entry.value));
      return;
    }
    for (const Entry& pool : *table) read_pool(pool, report);
  }

  void read_pool(const Entry& entry, Report& report) {
    const Table* table = entry.value.get<Table>();
    if (table == nullptr) {
      report.problem(entry.place, "each pool is a table, [pool.NAME]; found " + shown(entry.name) +
                                      " in [pool]");
      return;
    }
    check_name(entry, report);
    pool::PoolPolicy pool = loaded_.settings.dynamic_default;
    pool.key = entry.name;
    const Said said = read_table({"[pool." + entry.name + "]", entry.place, *table},
                                 pool_settings(), report, users_, pool);
    fit_defaults(pool, said);
    check_pool(pool, said, report);
    loaded_.settings.pools.push_back(std::move(pool));
  }

  void check_name(const Entry& entry, Report& report) {
    if (!is_pool_name(entry.name)) {
      report.problem(entry.place, "pool name " + shown(entry.name) +
                                      " must be 1 to 64 of the characters a-z, 0-9, '.', '_', '-'");
    }
    const auto [first, is_new] =
        places_.emplace(entry.name, PoolPlace{report.file(), entry.place.line});
    if (is_new) return;
    report.problem(entry.place, "pool " + shown(entry.name) + " is defined a second time; it is " +
                                    first->second.file + ":" + std::to_string(first->second.line) +
                                    " already");
  }

  // By file, in the order of reading, and by line.
  void sort(std::vector<Problem>& problems) const {
    const auto rank = [&](const Problem& problem) {
      const auto file = std::find(loaded_.files.begin(), loaded_.files.end(), problem.file);
      return std::pair(file - loaded_.files.begin(), problem.line);
    };
    std::stable_sort(problems.begin(), problems.end(),
                     [&](const Problem& a, const Problem& b) { return rank(a) < rank(b); });
  }

  const LoadOptions& options_;
  Loaded loaded_;
  Users users_;
  std::optional<Said> daemon_;               // what [daemon] said, if it was there
  std::map<std::string, PoolPlace> places_;  // of each pool
};

}  // namespace

Loaded load(const LoadOptions& options) {
  return Loader(options).run();
}

Settings default_settings(const LoadOptions& options) {
  Settings settings;
  if (!options.runtime_dir.empty()) {
    settings.daemon.lease_socket = options.runtime_dir + "/lease.sock";
    settings.daemon.control_socket = options.runtime_dir + "/control.sock";
  }
  if (options.user) {
    settings.daemon.lease_socket_mode = 0600;
    settings.daemon.control_socket_mode = 0600;
    settings.dynamic_keys = true;
    settings.dynamic_default.allow_uids = {options.own_uid};
  }
  return settings;
}

}  // namespace berth::config
