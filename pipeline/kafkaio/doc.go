// Package kafkaio is the layer over Kafka for a daemon that streams: it describes topics, shares
// partitions among the members of a group, reads a partition from an offset, and writes dead letters.
//
// Membership is kafka-go's ConsumerGroup. Reading is our own: the package speaks Fetch itself
// and walks the record batches, because every reader of kafka-go hands out control markers and records
// of aborted transactions, and none tells a null value from an empty one. A Reader checks the CRC
// of each batch, leaves out what was never committed, steps over holes, and bounds what a batch may
// unpack to. Its position is always explicit: nothing is committed behind the caller's back.
//
// Delivery is at least once. A position is the offset of the next record to read. Who stores positions
// together with the data they produced gets every record applied exactly once; the offsets that are
// committed to the group are only a hint for others and for lag.
//
// What the library cannot do, and what that means:
//
//   - No static membership: a restarted pod is a new member, so every restart rebalances the group
//     twice. Keep drains short, and give each deployment a group of its own.
//   - No cooperative rebalancing, and none of the consumer protocol of KIP-848: every rebalance ends all
//     lanes of all members for a moment. A foreign member with another protocol is refused by
//     the broker, and Consume reports it as a retry.
//   - No idempotent and no transactional producer: a write that timed out may have happened, and its
//     repetition is then a second record. Readers of what Producer writes must accept repetitions.
//   - The leader of the group asks for metadata in a way that lets a broker with auto.create.topics.enable
//     make a topic that was deleted meanwhile. Consume refuses to start on a missing topic and ends when
//     a topic was made anew, but it cannot forbid that one request.
//   - A group's connection is renewed by a rebalance when the broker limits the life of SASL sessions;
//     Readers and Producers renew theirs in time and without one.
//
// Brokers from 0.11 on are understood; topic ids need 2.8.
package kafkaio
