#include "ctl/print.h"

#include <gtest/gtest.h>

#include "berth/v1/admin.pb.h"

namespace berth::ctl {
namespace {

TEST(Print, OneThingIsSingular) {
  EXPECT_EQ(count_of(0, "lease"), "0 leases");
  EXPECT_EQ(count_of(1, "lease"), "1 lease");
  EXPECT_EQ(count_of(2, "lease"), "2 leases");
}

TEST(Print, ATimeIsOneWord) {
  for (const uint64_t ms : {uint64_t{0}, uint64_t{999}, uint64_t{61'001}, uint64_t{90'061'000}}) {
    EXPECT_EQ(time(ms).find(' '), std::string::npos) << time(ms);
  }
  EXPECT_EQ(time(12), "12ms");
}

TEST(Print, NamesOfTheProtocolAreShownAsWords) {
  EXPECT_EQ(word(v1::CloseReason_Name(v1::CLOSE_REASON_UNSPECIFIED), 6), "reason_unspecified");
  EXPECT_EQ(word(v1::PoolInfo::Intake_Name(v1::PoolInfo::PAUSED)), "paused");
}

TEST(Print, AUserWithoutANameIsANumber) {
  EXPECT_EQ(user(0), "root");
  EXPECT_EQ(user(4'000'000'001), "4000000001");
}

TEST(Print, JsonHasTheFieldsThatAreZeroUnderTheirNamesInTheProto) {
  v1::StatusReply reply;
  testing::internal::CaptureStdout();
  ASSERT_TRUE(print_json(reply, Json::line).ok());
  const std::string line = testing::internal::GetCapturedStdout();
  EXPECT_NE(line.find("\"slots_used\":0,"), line.npos) << line;
  EXPECT_NE(line.find("\"failed_closes\":\"0\""), line.npos)
      << "64 bits are more than a double has";
}

}  // namespace
}  // namespace berth::ctl
