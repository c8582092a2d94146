// How this process allocates: glibc's malloc, set to what solvers of every size ask of it.

#ifndef BILEVEL_SERVER_JOBS_ALLOCATOR_H_
#define BILEVEL_SERVER_JOBS_ALLOCATOR_H_

namespace bilevel::server {

// First thing in main. Keeps freed memory of ordinary requests instead of returning it to the system and faulting it in
// again: a third of the time that a small request takes to decode. Large arrays on huge pages, which a sweep over a
// million states is up to twice as fast on: glibc reads this when a program starts, so this one starts again, once,
// with the same arguments, unless GLIBC_TUNABLES is set, which then counts.
//
// Its caches of freed small arrays stay as short as they are: longer ones (tcache_count 200) save 4 % of a
// hyper-gradient of fifty states and double the memory that one of a million takes, since what they hold splits the
// heap.
void ConfigureAllocator(char** argv);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_ALLOCATOR_H_
