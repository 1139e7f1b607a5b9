#include "net/process.h"

#include <sys/prctl.h>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

TEST(Process, ACommandIsNamed) {
  test::Pipe ready, done;
  test::Child child([&] {
    prctl(PR_SET_NAME, "worker \x1b[1m\n");
    char byte = 0;
    if (write(ready.in.get(), "x", 1) != 1) return 1;
    done.in.reset();
    return read(done.out.get(), &byte, 1) == 0 ? 0 : 1;
  });
  char byte = 0;
  EXPECT_EQ(read(ready.out.get(), &byte, 1), 1);
  EXPECT_EQ(command_of(child.pid()), "worker ?[1m?") << "no escape sequence reaches a terminal";
  done.in.reset();
  EXPECT_EQ(child.join(), 0);
}

TEST(Process, AProcessThatIsGoneHasNoName) {
  test::Child child([] { return 0; });
  const pid_t pid = child.pid();
  child.join();
  EXPECT_EQ(command_of(pid), "?");
  EXPECT_EQ(command_of(0), "?");
}

TEST(Process, AUserIsNamedOrNumbered) {
  EXPECT_EQ(user_name(0), "root");
  EXPECT_EQ(user_name(4'000'000'001), "4000000001");
}

}  // namespace
}  // namespace berth::net
