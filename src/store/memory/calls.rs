//! Counts of the calls, because the number of requests of each operation is tested.

/// Declares the operations of a store and their counters.
macro_rules! operations {
    ($($operation:ident $counter:ident,)+) => {
        /// An operation of an [`ObjectStore`](crate::store::ObjectStore).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($operation,)+
        }

        /// How many calls of each operation were made, failed ones included.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Calls {
            $(pub $counter: u64,)+
        }

        impl Calls {
            /// All calls that are a request on S3, which presigning is not.
            pub fn total(&self) -> u64 {
                [$(self.$counter),+].iter().sum::<u64>() - self.presign
            }

            /// The calls since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($counter: self.$counter - earlier.$counter,)+ }
            }

            pub(super) fn count(&mut self, operation: Operation) {
                *match operation {
                    $(Operation::$operation => &mut self.$counter,)+
                } += 1;
            }
        }
    };
}

operations! {
    Read read,
    Create create,
    Replace replace,
    Remove remove,
    List list,
    Put put,
    Get get,
    Head head,
    Delete delete,
    Presign presign,
    Start start,
    PutPart put_part,
    Complete complete,
    Abort abort,
    IsOpen is_open,
    ListDays list_days,
    ListData list_data,
    ListMultiparts list_multiparts,
}
