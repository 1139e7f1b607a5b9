#include "base/secret.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/limits.h"
#include "base/status_text.h"

namespace berth {
namespace {

class SecretFile : public ::testing::Test {
 protected:
  SecretFile() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-secret-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~SecretFile() override { std::filesystem::remove_all(folder_); }

  std::string path() const { return (folder_ / "password").string(); }

  void write(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path()) << text;
    ::chmod(path().c_str(), mode);
  }

  // What is wrong with the file, without its path.
  std::string problem() const {
    const auto secret = Secret::from_file(path());
    if (secret.ok()) return "nothing";
    const std::string text = text_of(secret.status());
    EXPECT_TRUE(text.starts_with(path() + " ")) << text;
    return text.substr(path().size() + 1);
  }

  std::filesystem::path folder_;
};

TEST_F(SecretFile, IsReadWithoutItsLastLineBreak) {
  write("hunter2\n");
  EXPECT_EQ(Secret::from_file(path())->bytes(), "hunter2");
  write("two\n\n");
  EXPECT_EQ(Secret::from_file(path())->bytes(), "two\n");
  write(std::string("\0\xff", 2));
  EXPECT_EQ(Secret::from_file(path())->bytes(), std::string_view("\0\xff", 2));
}

TEST_F(SecretFile, IsNeitherEmptyNorLong) {
  write("");
  EXPECT_EQ(problem(), "is empty; it must hold the secret");
  write("\n");
  EXPECT_EQ(problem(), "is empty; it must hold the secret");
  write(std::string(kMaxSecretBytes, 'x'));
  EXPECT_EQ(Secret::from_file(path())->bytes().size(), kMaxSecretBytes);
  write(std::string(kMaxSecretBytes, 'x') + "\n");
  EXPECT_EQ(problem(), "is longer than a secret may be, 4096 bytes");
}

TEST_F(SecretFile, MustBeThereAndAFile) {
  EXPECT_TRUE(problem().starts_with("cannot be read")) << problem();
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_EQ(problem(), "is not a regular file; it must be a file that holds the secret");
  std::filesystem::remove(path());
  std::filesystem::create_directory(path());
  EXPECT_EQ(problem(), "is a directory; it must be a file that holds the secret");
}

TEST_F(SecretFile, IsItsOwnersAlone) {
  const bool root = ::geteuid() == 0;
  const std::string right = std::string("; it must be 0600 or less") +
                            (root ? ", or 0640 for a group that may read it" : "");
  write("x", 0400);
  EXPECT_EQ(problem(), "nothing");
  write("x", 0640);
  EXPECT_EQ(problem(), root ? "nothing" : "is open to its group (mode 0640)" + right);
  write("x", 0660);
  EXPECT_EQ(problem(), "is open to its group (mode 0660)" + right);
  write("x", 0604);
  EXPECT_EQ(problem(), "is open to all (mode 0604)" + right);
}

TEST_F(SecretFile, BelongsToRootOrUs) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  write("x");
  ASSERT_EQ(::chown(path().c_str(), 4711, 0), 0);
  EXPECT_EQ(problem(),
            "belongs to user 4711, who could change it; it must belong to root or to user 0, as "
            "whom berthd runs");
  ASSERT_EQ(::seteuid(4711), 0);
  ::chmod(folder_.c_str(), 0755);
  const std::string own = problem();
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(own == "nothing" || own.starts_with("cannot be read")) << own;
}

// The flags of the mapping that `address` is in, as smaps(5) names them.
std::string flags_of(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    char dash = 0;
    if (std::istringstream(line) >> std::hex >> begin >> dash >> end && dash == '-') {
      inside = begin <= wanted && wanted < end;
    } else if (inside && line.starts_with("VmFlags: ")) {
      return line.substr(8) + " ";
    }
  }
  return {};
}

TEST(Secret, IsLeftOutOfCoreDumpsAndCannotBeOverwritten) {
  const Secret secret = Secret::of("hunter2");
  const std::string flags = flags_of(secret.bytes().data());
  if (flags.empty()) GTEST_SKIP() << "no smaps here";
  EXPECT_NE(flags.find(" dd "), flags.npos) << flags;
  EXPECT_EQ(flags.find(" wr "), flags.npos) << flags;
}

TEST(Secret, IsMadeWhereItStays) {
  char* where = nullptr;
  const Secret secret = Secret::made(2, [&](char* out) {
    where = out;
    out[0] = 'a';
    out[1] = 'b';
  });
  EXPECT_EQ(secret.bytes(), "ab");
  EXPECT_EQ(secret.bytes().data(), where);
}

TEST(Secret, IsComparedByItsBytesAndSharedByCopies) {
  const Secret secret = Secret::of("a");
  const Secret copy = secret;  // NOLINT(performance-unnecessary-copy-initialization)
  EXPECT_EQ(secret.bytes().data(), copy.bytes().data());
  EXPECT_TRUE(secret == copy);
  EXPECT_TRUE(secret == Secret::of("a"));
  EXPECT_FALSE(secret == Secret::of("b"));
  EXPECT_FALSE(secret == Secret());
  EXPECT_TRUE(Secret().empty());
  EXPECT_TRUE(Secret() == Secret::of(""));
}

}  // namespace
}  // namespace berth
