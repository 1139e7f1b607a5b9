// berthctl: the administrator's command.
#include <sysexits.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/nearest.h"
#include "base/status_text.h"
#include "ctl/commands.h"

namespace {

using namespace berth::ctl;

constexpr const char* kAbout =
    "berthctl shows what a running berthd holds and does, and controls it.\n";
constexpr const char* kFooter =
    "\nExit status: 64 wrong usage or no such key, lease or session, 69 berthd is not running,\n"
    "75 try again, 77 not permitted, 78 wrong configuration. See berthctl(8).";

int complain(const std::string& text, int exit_code) {
  std::fprintf(stderr, "berthctl: %s\n", text.c_str());
  return exit_code;
}

// The first word that is neither an option nor its value; "" if there is none.
std::string_view command_word(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--socket") {
      ++i;
    } else if (!word.starts_with('-')) {
      return word;
    }
  }
  return "";
}

// "" if the command is known, or missing.
std::string unknown_command(std::string_view word) {
  std::vector<std::string_view> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  if (word.empty() || std::find(names.begin(), names.end(), word) != names.end()) return "";
  const std::string near = berth::nearest(word, names);
  return "unknown command " + std::string(word) +
         (near.empty() ? "" : "; did you mean " + near + "?") +
         "\nberthctl --help lists the commands";
}

int run(int argc, char** argv) {
  if (const std::string text = unknown_command(command_word(argc, argv)); !text.empty()) {
    return complain(text, EX_USAGE);
  }
  Options options;
  CLI::App app(kAbout, "berthctl");
  app.footer(kFooter);
  app.set_version_flag("--version", "berthctl " BERTH_VERSION, "Print the version");
  app.add_option("--socket", options.socket,
                 "berthd's control socket; else $BERTH_CONTROL, else\n"
                 "$XDG_RUNTIME_DIR/berth/control.sock if it exists, else\n" BERTH_RUNSTATEDIR
                 "/berth/control.sock")
      ->type_name("PATH");
  app.require_subcommand(1);
  app.fallthrough();
  const Command* chosen = nullptr;
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    sub->add_flag("--json", options.json, "Print JSON, as berthctl(8) describes it");
    command.declare(*sub, options);
    sub->callback([&] { chosen = &command; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : EX_USAGE;
  }
  absl::StatusOr<Link> link = Link::open(options.socket);
  const absl::Status status = link.ok() ? chosen->run(*link, options) : link.status();
  if (!status.ok()) return complain(berth::text_of(status), exit_code_of(status));
  return std::fflush(stdout) == 0 ? 0 : complain("cannot write the output", EX_UNAVAILABLE);
}

}  // namespace

int main(int argc, char** argv) {
  return run(argc, argv);
}
