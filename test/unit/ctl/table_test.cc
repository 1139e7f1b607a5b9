#include "ctl/table.h"

#include <gtest/gtest.h>

namespace berth::ctl {
namespace {

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"KEY"}, {"IDLE", Align::right}, {"STATE"}});
  table.add({"a", "1", "open"});
  table.add({"longer", "12345", "-"});
  EXPECT_EQ(table.text(0),
            "KEY      IDLE  STATE\n"
            "a           1  open\n"
            "longer  12345  -\n");
}

TEST(Table, WithoutRowsThereAreTitles) {
  EXPECT_EQ(Table({{"KEY"}, {"IDLE", Align::right}}).text(80), "KEY  IDLE\n");
}

TEST(Table, TheWidestColumnsAreCutUntilTheLineFits) {
  Table table(
      {{"KEY", Align::left, true}, {"USES", Align::right}, {"ENDPOINT", Align::left, true}});
  table.add({"abcdefghijklmnop", "7", "tcp://abcdefghijklmnopqrst"});
  EXPECT_EQ(table.text(48),
            "KEY               USES  ENDPOINT\n"
            "abcdefghijklmnop     7  tcp://abcdefghijklmnopq…\n");
  EXPECT_EQ(table.text(30),
            "KEY          USES  ENDPOINT\n"
            "abcdefghij…     7  tcp://abcd…\n");
}

TEST(Table, CellsOfWhichAScriptMayNeedAllAreNotCut) {
  Table table({{"KEY", Align::left, true}, {"LEASE", Align::right}});
  table.add({"abcdefghijklmnop", "18446744073709551615"});
  EXPECT_EQ(table.text(10),
            "KEY                      LEASE\n"
            "abcdefg…  18446744073709551615\n");
}

TEST(Table, CharactersAreCountedNotBytes) {
  Table table({{"KEY", Align::left, true}, {"USES", Align::right}});
  table.add({"größe", "1"});
  table.add({"ключключключ", "2"});
  EXPECT_EQ(table.text(0),
            "KEY           USES\n"
            "größe            1\n"
            "ключключключ     2\n");
  EXPECT_EQ(table.text(14),
            "KEY       USES\n"
            "größe        1\n"
            "ключклю…     2\n");
}

TEST(Table, NoCellSteersTheTerminal) {
  Table table({{"COMMAND"}});
  table.add({"a\x1b[2J\r\n\x7f"});
  EXPECT_EQ(table.text(0), "COMMAND\na?[2J???\n");
}

}  // namespace
}  // namespace berth::ctl
