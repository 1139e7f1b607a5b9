#include "config/load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/check.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "config/catalogue.h"
#include "config/contradictions.h"
#include "config/document.h"
#include "config/files.h"
#include "config/later.h"
#include "config/presets.h"
#include "config/table_reader.h"
#include "config/text.h"

namespace berth::config {
namespace {

enum class Role { main_file, pools_file };

struct FilePlace {
  std::string file;
  Place place;
};

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxKeyBytes &&
         std::all_of(name.begin(), name.end(), is_key_char);
}

// Requires: it is a table.
const Table& table_in(const Entry& entry) {
  const Table* table = entry.value.get<Table>();
  BERTH_CHECK(table != nullptr, "what is read as a table is one");
  return *table;
}

// Why `entry` may not stand outside of all tables but [daemon] and [pool.NAME].
std::string explain_top_level(const Entry& entry) {
  constexpr std::string_view kTables[] = {"daemon", "dynamic", "pool", "socket"};
  if (entry.value.get<Table>() == nullptr && entry.value.get<Array>() == nullptr) {
    return "setting " + shown(entry.name) +
           " stands outside of a table; write it below [daemon], [pool.NAME] or [socket.NAME]";
  }
  const std::string meant = nearest(entry.name, std::span(kTables));
  const std::string unknown = "unknown table " + shown(entry.name);
  if (meant == "daemon" || meant == "dynamic") return unknown + "; did you mean [" + meant + "]?";
  if (!meant.empty()) return unknown + "; did you mean [" + meant + ".NAME]?";
  return unknown + "; there may be [daemon], [dynamic], [pool.NAME] and [socket.NAME]";
}

class Loader {
 public:
  explicit Loader(const LoadOptions& options) : options_(options) {
    loaded_.settings = default_settings(options);
    default_policy_ = loaded_.settings.dynamic.policy;
  }

  Loaded run() {
    read_main_file();
    read_pools_dir();
    admit_tenants();
    tell_paths_apart();
    warn_of_closed_pools();
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
      for_each_table(entry, report, [&](const Entry& each) { read_pool(each, report); });
    } else if (entry.name == "socket") {
      for_each_table(entry, report, [&](const Entry& each) { read_socket(each, report); });
    } else if ((entry.name == "daemon" || entry.name == "dynamic") && role == Role::pools_file) {
      report.problem(entry.place, "[" + entry.name +
                                      "] stands in the main file only; this file may hold "
                                      "[pool.NAME] and [socket.NAME] tables");
    } else if (entry.name == "daemon") {
      read_daemon(entry, report);
    } else if (entry.name == "dynamic") {
      read_dynamic(entry, report);
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
    daemon_ = read_table({"[daemon]", entry.place, *table}, daemon_settings(), report, accounts_,
                         loaded_.settings.daemon);
  }

  // What it has of its own, and what every pool has that a URL makes.
  void read_dynamic(const Entry& entry, Report& report) {
    const Table* table = entry.value.get<Table>();
    if (table == nullptr) {
      report.problem(entry.place,
                     "dynamic must be a table, [dynamic]; found " + describe(entry.value));
      return;
    }
    DynamicSettings& dynamic = loaded_.settings.dynamic;
    Table own;
    Table of_pools;
    for (const Entry& setting : *table) {
      (setting.name == "allow" ? own : of_pools).push_back(setting);
    }
    read_table({"[dynamic]", entry.place, own}, dynamic_settings(), report, accounts_, dynamic);
    std::vector<std::string_view> names = names_of(pool_settings());
    std::erase_if(names, [](auto name) { return name == "endpoints" || name == "min_idle"; });
    for (const Setting<pool::PoolPolicy>& setting : pool_settings()) {
      if ((setting.scope & kStreamPools) == 0) std::erase(names, setting.name);
    }
    names.push_back("allow");
    Said said = read_table({"[dynamic]", entry.place, of_pools}, pool_settings(), report, accounts_,
                           dynamic.policy, names);
    bring_preset(dynamic.policy, said);
    check_dynamic(dynamic, said, report);
    const bool names_files = said.has("ca") || said.has("certificate");
    if (names_files || dynamic.policy.uses_tls()) check_files(dynamic.policy, said, report);
  }

  // Of [pool.NAME] and [socket.NAME].
  template <class Read>
  void for_each_table(const Entry& kind, Report& report, Read read) {
    const Table* tables = kind.value.get<Table>();
    if (tables == nullptr) {
      report.problem(kind.place, kind.name + " must hold tables, [" + kind.name + ".NAME]; found " +
                                     describe(kind.value));
      return;
    }
    for (const Entry& entry : *tables) {
      if (entry.value.get<Table>() == nullptr) {
        report.problem(entry.place, "each " + kind.name + " is a table, [" + kind.name +
                                        ".NAME]; found " + shown(entry.name) + " in [" + kind.name +
                                        "]");
        continue;
      }
      check_name(kind.name, entry, report);
      read(entry);
    }
  }

  void read_pool(const Entry& entry, Report& report) {
    pool::PoolPolicy pool = default_policy_;
    pool.key = entry.name;
    const TableView table{"[pool." + entry.name + "]", entry.place, table_in(entry)};
    Said said = read_table(table, pool_settings(), report, accounts_, pool);
    bring_preset(pool, said);
    if (pool.carries_channels() && !said.has("listen")) give_socket(pool, report, said.header());
    check_pool(pool, said, report);
    if (pool.carries_channels()) {
      pool.max_connections = pool::kUnlimited;      // of programs; max_channels is what counts
      if (pool.uses_tls()) pool.tls.alpn = {"h2"};  // RFC 9113, 3.2
    }
    if (pool.uses_tls()) check_files(pool, said, report);
    if (!said.valid("allow_users") || !said.valid("allow_groups")) unsure_.insert(entry.name);
    loaded_.settings.pools.push_back(std::move(pool));
  }

  // Where any gRPC client connects to a channel pool that says nothing of it.
  void give_socket(pool::PoolPolicy& pool, Report& report, Place header) const {
    const std::string path = sockets_dir(options_) + "/" + pool.key + ".sock";
    auto socket = parse_endpoint("unix://" + path);
    if (auto* endpoint = std::get_if<Endpoint>(&socket)) {
      pool.listen = {std::move(*endpoint)};
    } else if (is_name(pool.key)) {  // else that is told
      report.problem(header, "[pool." + pool.key + "] has no place for its socket: " + path +
                                 " is too long; give it one with listen");
    }
  }

  // A mistake is told where the setting stands that its words begin with.
  void check_files(const pool::PoolPolicy& pool, const Said& said, Report& report) {
    if (options_.probe_tls == nullptr) return;
    for (const char* name : {"ca", "certificate", "private_key", "verify"}) {
      if (!said.valid(name)) return;
    }
    if (pool.tls.certificate.empty() != pool.tls.private_key.empty()) return;
    const auto known = std::find_if(probes_.begin(), probes_.end(),
                                    [&](const auto& each) { return each.first == pool.tls; });
    const TlsProbe& probe =
        known != probes_.end()
            ? known->second
            : probes_.emplace_back(pool.tls, options_.probe_tls(pool.tls)).second;
    if (probe.fault.empty()) return;
    const Place place = said.place(probe.fault.substr(0, probe.fault.find(':')));
    report.problem(place.line > 0 ? place : said.header(), probe.fault);
  }

  void read_socket(const Entry& entry, Report& report) {
    SocketSettings socket;
    socket.name = entry.name;
    const TableView table{"[socket." + entry.name + "]", entry.place, table_in(entry)};
    const Said said = read_table(table, socket_settings(), report, accounts_, socket);
    check_socket(socket, said, report);
    keys_[socket.name] = {report.file(), said.place("keys")};
    paths_[socket.name] = {report.file(), said.place("path")};
    loaded_.settings.sockets.push_back(std::move(socket));
  }

  void check_name(const std::string& kind, const Entry& entry, Report& report) {
    if (!is_name(entry.name)) {
      report.problem(entry.place, kind + " name " + shown(entry.name) +
                                      " must be 1 to 64 of the characters a-z, 0-9, '.', '_', '-'");
    }
    const auto [first, is_new] =
        places_.emplace(kind + "." + entry.name, FilePlace{report.file(), entry.place});
    if (is_new) return;
    report.problem(entry.place, kind + " " + shown(entry.name) +
                                    " is defined a second time; it is " + first->second.file + ":" +
                                    std::to_string(first->second.place.line) + " already");
  }

  // The pools that the sockets' keys name learn of their tenants, wherever either stands.
  void admit_tenants() {
    std::vector<pool::PoolPolicy>& pools = loaded_.settings.pools;
    std::vector<std::string_view> names;
    names.reserve(pools.size());
    for (const pool::PoolPolicy& pool : pools) names.push_back(pool.key);
    for (const SocketSettings& socket : loaded_.settings.sockets) {
      for (const std::string& key : socket.keys) {
        const auto at = std::find(names.begin(), names.end(), key);
        if (at == names.end()) {
          refuse_key(socket.name, key, nearest(key, names));
        } else {
          pools[static_cast<size_t>(at - names.begin())].tenants.push_back(socket.name);
        }
      }
    }
  }

  // Problem at a path that is another's.
  void tell_paths_apart() {
    std::map<std::string, std::string> owners = {
        {loaded_.settings.daemon.lease_socket, "lease_socket"},
        {loaded_.settings.daemon.control_socket, "control_socket"}};
    for (const SocketSettings& socket : loaded_.settings.sockets) {
      if (socket.path.empty()) continue;
      const auto [first, is_new] = owners.emplace(socket.path, "[socket." + socket.name + "]");
      if (is_new) continue;
      const FilePlace& at = paths_[socket.name];
      Report report(at.file, loaded_.problems, loaded_.warnings);
      report.problem(at.place, "path = " + toml_string(socket.path) + " is that of " +
                                   first->second + " already");
    }
    for (const pool::PoolPolicy& pool : loaded_.settings.pools) {
      for (const Endpoint& endpoint : pool.listen) {
        const bool tcp = endpoint.kind == Endpoint::Kind::tcp;
        const std::string address = tcp ? endpoint.url() : endpoint.path;
        const auto [first, is_new] = owners.emplace(address, "[pool." + pool.key + "]");
        if (is_new) continue;
        const FilePlace& at = places_["pool." + pool.key];
        Report report(at.file, loaded_.problems, loaded_.warnings);
        report.problem(at.place, "listen: " + toml_string(address) + " is that of " +
                                     first->second + " already");
      }
    }
  }

  void refuse_key(const std::string& socket, const std::string& key, const std::string& meant) {
    const FilePlace& at = keys_[socket];
    Report report(at.file, loaded_.problems, loaded_.warnings);
    report.problem(at.place, "keys: no pool is called " + shown(key) +
                                 (meant.empty() ? "" : "; did you mean " + shown(meant) + "?"));
  }

  void warn_of_closed_pools() {
    for (const pool::PoolPolicy& pool : loaded_.settings.pools) {
      const bool anybody = std::any_of(pool.listen.begin(), pool.listen.end(),
                                       [](const auto& e) { return e.kind == Endpoint::Kind::tcp; });
      const bool nobody =
          pool.allow_uids.empty() && pool.allow_gids.empty() && pool.tenants.empty() && !anybody;
      if (!nobody || unsure_.count(pool.key) != 0) continue;
      const FilePlace& at = places_["pool." + pool.key];
      Report report(at.file, loaded_.problems, loaded_.warnings);
      report.warning(at.place, "nobody may lease from [pool." + pool.key +
                                   "]: it allows no users and no groups, and no socket has its "
                                   "key");
    }
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
  pool::PoolPolicy default_policy_;
  Accounts accounts_;
  std::vector<std::pair<TlsSettings, TlsProbe>> probes_;
  std::optional<Said> daemon_;               // what [daemon] said, if it was there
  std::map<std::string, FilePlace> places_;  // of each table, such as "pool.redis"
  std::map<std::string, FilePlace> keys_;    // of each socket
  std::map<std::string, FilePlace> paths_;   // likewise
  std::set<std::string> unsure_;             // pools of which it is not known whom they allow
};

}  // namespace

Loaded load(const LoadOptions& options) {
  return Loader(options).run();
}

std::string sockets_dir(const LoadOptions& options) {
  return (options.runtime_dir.empty() ? "/run/berth" : options.runtime_dir) + "/sockets";
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
    settings.dynamic.allow = {EndpointPattern::every()};
    settings.dynamic.policy.allow_uids = {options.own_uid};
  }
  return settings;
}

}  // namespace berth::config
