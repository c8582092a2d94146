// Whether this is a sanitised build, where tests draw fewer random problems.

#ifndef BILEVEL_TESTS_SUPPORT_SANITIZED_H_
#define BILEVEL_TESTS_SUPPORT_SANITIZED_H_

namespace bilevel::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_SANITIZED_H_
