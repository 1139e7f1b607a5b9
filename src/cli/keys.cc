#include <cstdio>

#include "cli/command.h"

namespace berth::cli {
namespace {

int print_key(const char* key, void*) {
  std::puts(key);
  return 0;
}

}  // namespace

int run_keys(const Command& self, Globals globals, Words words) {
  while (words.more()) {
    const char* option = words.option();
    if (option == nullptr) return usage_error(self, "unexpected argument %s", words.next());
    int exit_code = 0;
    switch (take_common(self, option, globals, words, exit_code)) {
      case Taken::over: return exit_code;
      case Taken::yes: continue;
      case Taken::no: return usage_error(self, "unknown option %s", option);
    }
  }
  const SessionPtr session = open_session(globals, "berth keys");
  if (session == nullptr) return fail();
  const int count = berth_keys(session.get(), print_key, nullptr);
  if (count < 0) return fail();
  if (count == 0) std::fputs("berth: there is no key that you may lease\n", stderr);
  return 0;
}

}  // namespace berth::cli
