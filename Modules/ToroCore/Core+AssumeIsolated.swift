extension Core {
    /// Runs `body` here and now, on the word of the caller that this *is* the run loop's thread.
    ///
    /// For the few places that the compiler cannot know to be there: the loop itself, the
    /// cancellation handler of a task (tasks are cancelled on their own core only, rule 1), a
    /// buffer's end of life.
    public static nonisolated func assumeIsolated<T>(_ body: @Core () -> T) -> T {
        #if !hasFeature(Embedded)
        HostRunLoop.shared.preconditionOnLoop()
        #endif
        // SAFETY: isolation is not part of a function's representation; the caller vouches for
        // the core, and on a host it was just checked.
        return withoutActuallyEscaping(body) { escaping in
            unsafe unsafeBitCast(escaping, to: (() -> T).self)()
        }
    }
}
