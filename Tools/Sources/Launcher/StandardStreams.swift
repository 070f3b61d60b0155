import Foundation

/// Descriptors 0, 1 and 2 of this process.
public enum StandardStreams {
    /// Opens those that the caller has closed, on `/dev/null`: otherwise the next file that is opened
    /// would get the number, and what is meant for a terminal would end in it. To be called before
    /// anything is opened.
    public static func open() {
        for number in 0...2 where fcntl(Int32(number), F_GETFD) < 0 {
            // The lowest free number, which is this one.
            // SAFETY: the path is a C string for the call.
            _ = unsafe Glibc.open("/dev/null", O_RDWR)
        }
    }
}
