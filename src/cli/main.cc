// berth: lease connections from the shell. Starts as fast as a C program: no iostreams, no parser
// library, nothing linked but libc.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "base/nearest.h"
#include "cli/command.h"

#ifndef BERTH_VERSION
#define BERTH_VERSION "unknown"
#endif

namespace berth::cli {
namespace {

constexpr Command kCommands[] = {
    {"exec", "exec KEY [--fd N] [--stdio] [--env NAME] [--return] [--timeout DUR] [--] CMD [ARG…]",
     "run a program with a leased connection",
     "Leases a connection of KEY and runs CMD with it, by default as descriptor 3.\n"
     "\n"
     "  --fd N         the descriptor's number (default 3)\n"
     "  --stdio        the connection as standard input and output instead\n"
     "  --env NAME     set the environment variable NAME to the descriptor's number\n"
     "  --return       wait for CMD; if it exits 0 the connection goes back for reuse, else it is\n"
     "                 discarded. Without --return berth becomes CMD, and the lease ends with it\n"
     "  --timeout DUR  wait for a connection at most so long (250ms, 5s; default: the pool's)\n"
     "\n"
     "Exits as CMD does; 126 if CMD cannot be run, 127 if it is not found.\n",
     run_exec},
    {"pipe", "pipe KEY [--timeout DUR]", "connect standard input and output to a connection",
     "Leases a connection of KEY, sends it what comes on standard input and writes what it says\n"
     "to standard output, until the server closes it. The end of standard input is passed on as\n"
     "the end of what is sent. The connection is discarded afterwards.\n"
     "\n"
     "  --timeout DUR  wait for a connection at most so long (250ms, 5s; default: the pool's)\n",
     run_pipe},
    {"pass", "pass KEY [--timeout DUR]",
     "pass a connection on to the program that has started berth",
     "Leases a connection of KEY for good and passes it over standard output, a Unix socket, as\n"
     "ssh with ProxyUseFdpass and berthd with dial_command want it. berth and berthd are then out\n"
     "of it: the connection counts in no limit any more and lives on without them.\n"
     "\n"
     "  --timeout DUR  wait for a connection at most so long (250ms, 5s; default: the pool's)\n",
     run_pass},
    {"keys", "keys", "list the keys that you may lease",
     "Lists the keys that you may lease, one on a line.\n", run_keys},
    {"ping", "ping [KEY] [--timeout DUR]",
     "see whether berthd answers, and lease and give back KEY",
     "Tells how long berthd takes to answer. With KEY it also leases a connection and gives it\n"
     "back unused, and tells how long that took.\n"
     "\n"
     "  --timeout DUR  wait for a connection at most so long (250ms, 5s; default: the pool's)\n",
     run_ping},
    {"slot", "slot [--key KEY] [--count N] [--timeout DUR] [--] CMD [ARG…]",
     "run a program that opens descriptors of its own",
     "Leases a bare slot and becomes CMD: the right to one descriptor of berthd's budget, without\n"
     "a connection. For programs that open sockets of their own, so that all together stay below\n"
     "the limit: berthd closes idle connections to make room. The lease ends with CMD.\n"
     "\n"
     "  --key KEY      the pool of slots (default: slot)\n"
     "  --count N      so many slots, 1 to 64 (default: 1)\n"
     "  --timeout DUR  wait for them at most so long (250ms, 5s; default: the pool's)\n"
     "\n"
     "Exits as CMD does; 126 if CMD cannot be run, 127 if it is not found.\n",
     run_slot},
};

constexpr std::string_view kNames[] = {"exec", "pipe", "pass", "keys", "ping", "slot"};

void print_help(FILE* to) {
  std::fputs("usage: berth [--socket PATH] COMMAND …\n\nLeases warm connections from berthd.\n\n",
             to);
  for (const Command& command : kCommands) {
    std::fprintf(to, "  %-6s %s\n", command.name, command.summary);
  }
  std::fputs(
      "\n"
      "  --socket PATH  berthd's lease socket; else $BERTH_SOCKET, else\n"
      "                 $XDG_RUNTIME_DIR/berth/lease.sock if it exists,\n"
      "                 else /run/berth/lease.sock\n"
      "  --version      print the version\n"
      "  --help         after a command: more about it\n"
      "\n"
      "Exit status: 64 wrong usage or no such key, 69 berthd or server unavailable,\n"
      "75 timed out or queue full (try again), 77 not permitted.\n",
      to);
}

int unknown(const char* kind, const char* word) {
  const std::string near = nearest(word, std::span<const std::string_view>(kNames));
  std::fprintf(stderr, "berth: unknown %s %s", kind, word);
  if (!near.empty()) std::fprintf(stderr, "; did you mean %s?", near.c_str());
  std::fputs("\nberth --help lists the commands\n", stderr);
  return kUsage;
}

// Where a standard descriptor is closed, the session's socket would take its number, and its
// place. CMD finds it closed again.
void occupy_standard_descriptors() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
      ::_exit(kUnavailable);
  }
}

int run(char** argv) {
  Globals globals;
  Words words(argv);
  while (const char* option = words.option()) {
    if (std::strcmp(option, "--help") == 0 || std::strcmp(option, "-h") == 0) {
      print_help(stdout);
      return 0;
    }
    if (std::strcmp(option, "--version") == 0) {
      std::puts("berth " BERTH_VERSION);
      return 0;
    }
    if (std::strcmp(option, "--socket") != 0) return unknown("option", option);
    globals.socket = words.value();
    if (globals.socket == nullptr) {
      std::fputs("berth: --socket needs a path\n", stderr);
      return kUsage;
    }
  }
  if (!words.more()) {
    print_help(stderr);
    return kUsage;
  }
  const char* name = words.next();
  for (const Command& command : kCommands) {
    if (std::strcmp(command.name, name) == 0) return command.run(command, globals, words);
  }
  return unknown("command", name);
}

}  // namespace
}  // namespace berth::cli

int main(int argc, char** argv) {
  berth::cli::occupy_standard_descriptors();
  return berth::cli::run(argc > 0 ? argv + 1 : argv);
}
