// berthctl(8) against the program: the commands that are there are documented, and no others.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace {

using Names = std::set<std::string>;

std::string read(const std::string& path) {
  const auto root = std::filesystem::absolute(__FILE__).parent_path() / "../../..";
  std::ifstream file(root / path);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What the first group of `pattern` matches, everywhere in `text`. Multiline: ^ begins a line.
Names all(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern, std::regex::ECMAScript | std::regex::multiline);
  Names names;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i) {
    names.insert((*i)[1].str());
  }
  return names;
}

TEST(Berthctl8, HasTheCommandsAndOptionsOfTheProgram) {
  const std::string manual = read("man/berthctl.8");
  const std::string table = read("src/ctl/commands.cc");
  const Names commands = all(table, R"rx(^    \{"([\w-]+)", ")rx");
  EXPECT_EQ(commands.size(), 23u);
  EXPECT_EQ(all(manual, R"(^\.It Cm ([\w-]+))"), commands);
  Names options = all(read("src/ctl/main.cc") + table, R"rx("--(\w+)",)rx");
  options.insert("help");  // CLI11's own
  EXPECT_EQ(all(manual, R"(\bFl -(\w+))"), options);
}

TEST(Berthctl8, NamesTheMessagesOfEachListing) {
  const std::string manual = read("man/berthctl.8");
  for (const std::string& name :
       all(read("proto/berth/v1/admin.proto"), R"(^message (\w+Info) )")) {
    EXPECT_NE(manual.find(name), manual.npos) << name;
  }
}

}  // namespace
