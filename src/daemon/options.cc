#include "daemon/options.h"

#include <sysexits.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "daemon/tls_probe.h"

namespace berth::daemon {
namespace {

constexpr const char* kAbout =
    "berthd keeps warm connections for the programs on this host and leases them by key.\n";
constexpr const char* kFooter =
    "\nWithout --config: " BERTH_SYSCONFDIR
    "/berth/berthd.toml; with --user $XDG_CONFIG_HOME/berth/berthd.toml,\nif it is there. "
    "*.toml in the folder pools.d beside it are read too.\n"
    "See berthd(8), berthd.toml(5).";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string user_config_dir() {
  std::string xdg = environment("XDG_CONFIG_HOME");
  if (!xdg.empty()) return xdg;
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.config";
}

std::string default_file(bool user) {
  if (!user) return BERTH_SYSCONFDIR "/berth/berthd.toml";
  const std::string dir = user_config_dir();
  return dir.empty() ? "" : dir + "/berth/berthd.toml";
}

// Where the sockets go. "" if nothing says so.
std::string runtime_dir(bool user, const std::string& named) {
  if (!named.empty()) return named;
  if (!user) return BERTH_RUNSTATEDIR "/berth";
  const std::string xdg = environment("XDG_RUNTIME_DIR");
  return xdg.empty() ? "" : xdg + "/berth";
}

}  // namespace

std::variant<Options, int> parse_options(int argc, char** argv, const char* version) {
  Options options;
  std::string dir;
  CLI::App app(kAbout, "berthd");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("berthd ") + version, "Print the version");
  app.add_option("--config", options.load.main_file, "Configuration file")->type_name("FILE");
  app.add_flag("--check-config", options.check_config,
               "Check the configuration, print it in full, and exit");
  app.add_flag("--user", options.load.user,
               "Run for the calling user: sockets in $XDG_RUNTIME_DIR/berth, URLs serve as keys");
  app.add_option("--runtime-dir", dir, "Folder of the sockets")->type_name("DIR");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  config::LoadOptions& load = options.load;
  load.main_file_named = !load.main_file.empty();
  if (!load.main_file_named) load.main_file = default_file(load.user);
  if (!load.main_file.empty()) {
    load.pools_dir = std::filesystem::path(load.main_file).replace_filename("pools.d");
  }
  load.own_uid = getuid();
  load.probe_tls = probe_tls;
  load.runtime_dir = runtime_dir(load.user, dir);
  if (load.runtime_dir.empty() && !options.check_config) {
    std::cerr << "berthd: --user needs XDG_RUNTIME_DIR in the environment, or --runtime-dir DIR\n";
    return EX_USAGE;
  }
  return options;
}

}  // namespace berth::daemon
