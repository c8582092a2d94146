// A toll on the road through the centre, by time of departure (after Vickrey 1969, "Congestion theory and transport
// investment"; the toll is Pigou's).
//
// Each of 6 quarters of an hour a commuter who is still at home takes the road through the centre (action 0), the
// ring road, which takes longer (1), or waits (2; not in the last quarter). Work of two shifts begins in quarters 2
// and 4; who leaves d quarters too early loses d / 2, who leaves d too late d. Who is on the road comes to work, where
// the episode ends. State shift * 6 + quarter, 12 is work; discount 0.99, temperature 0.3.
//
// x_t >= 0 is the toll on the centre in quarter t, theta = x. With m_t(x) the share of commuters on it, discounted,
// who harm those who live there by k/2 m_t^2, k = 3, the leader maximises welfare,
//
//   phi(x) = sum_s rho(s) V(s) + sum_t x_t m_t - k/2 sum_t m_t^2    (follower_value, leader_return, feature_matching).
//
// The answer: x*_t = k m_t(x*), each toll is the marginal harm. For dV/dx_t = -m_t, so what is paid cancels:
//
//   d phi / dx_j = sum_t (x_t - k m_t) dm_t/dx_j,
//
// and dm/dx = -(second derivative of the convex V) has full rank, since the ring road costs nothing extra. So this is
// the only stationary point; welfare is concave in the occupancy, and no other way to send commuters does better.
// Drivers do not slow each other down here: that would be a game among followers.
//
// Check values: welfare -0.875422 without tolls, -0.707819 with the best, which are 0.1673, 0.4072, 0.7371, 0.3458,
// 0.5903, 0.1093; 0.941 of the commuters take the centre without tolls, 0.786 with them.

#ifndef BILEVEL_CLIENT_PROBLEMS_CONGESTION_TAX_H_
#define BILEVEL_CLIENT_PROBLEMS_CONGESTION_TAX_H_

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

inline constexpr int kCongestionTaxQuarters = 6;
inline constexpr double kCongestionTaxHarm = 3.0;

v1::Problem CongestionTax();

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_CONGESTION_TAX_H_
