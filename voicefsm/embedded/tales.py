"""What the responder knows by heart: stories, explanations and small things. Written to be heard: plain sentences, no digits."""

from __future__ import annotations


def _told(text: str) -> str:
    """Without the line ends it is written with."""
    return " ".join(text.split())


STORIES: dict[str, str] = {
    "lighthouse|light house|sea|moon|ship": _told(
        """
        All right, here is a story about a lighthouse. Once, on a rock at the edge of a cold northern sea, there lived a
        lighthouse keeper called Marta. Every evening she climbed two hundred and twelve steps, lit the lamp, and wound
        the heavy clockwork that turned it. Every morning she climbed down again, made a pot of tea, and wrote one line
        in her book. Most days the line was the same: nothing happened, and all ships came home. One autumn night the
        clockwork broke, and the great lamp stood still. Marta opened the little brass door and found the trouble at
        once. A toothed wheel, no bigger than a coin, had cracked. Out on the water a fog was rising, and somewhere in
        that fog a ship was sounding its horn. So Marta put her shoulder against the lamp and began to push. Round and
        round she walked, one turn in every ten seconds, and to keep the time she sang. She sang all the songs she knew,
        and when she had no more songs she sang the names of the stars, and when she had no more stars she sang the
        shopping list. Toward midnight the moon came up above the fog and watched her for a while. You are late with the
        potatoes, said the moon, who had been listening. And you are late altogether, said Marta, without stopping. I
        could have used some light an hour ago. The moon was not used to being scolded, and was rather ashamed. It
        leaned down as far as a moon can lean, and pulled gently at the sea, just as it does for the tides, only a
        little more. Slowly the water rose over the sharp rocks, until there was room enough for a ship to pass. At dawn
        the fog lifted. In the bay lay a small grey ship, quite safe, with a very puzzled captain. He rowed across to
        say thank you, and he asked who had been singing, because his crew had steered by the voice. Marta laughed and
        told him about the broken wheel. The captain searched his pockets, and took out an old watch that had belonged
        to his grandmother. Inside was a wheel of exactly the right size. From then on the lamp turned by itself again,
        and it ticked very softly, like a watch. That morning Marta wrote in her book: something happened, and all ships
        came home. And on clear nights, if you are out on that water, you can still see the moon lean down a little, to
        hear whether she sings. That is the end of the story.
        """
    ),
    "robot|cat|dog|clock|machine": _told(
        """
        Here is a story about a robot and a cat. In a narrow street, above a shop full of clocks, lived an old
        clockmaker who could not bear an untidy room. So he built a robot, about as tall as a broom, and taught it one
        rule: put everything back where it belongs. The robot was very good at it. It put the spoons with the spoons and
        the springs with the springs. By the end of the first week there was nothing left to do, and the robot stood at
        the window and waited. On the eighth day a wet grey cat came in through that window, sat down on the workbench,
        and went to sleep. The robot looked at the cat for a long time. It did not belong with the spoons. It did not
        belong with the springs. So the robot picked it up, very carefully, and set out to find where it belonged. It
        tried the baker, who had mice, and said that he would rather have a quiet cat than this one, which was snoring.
        It tried the church, where the cat woke up and sang along with the organ. It tried the house of a large brown
        dog. The dog was polite about it, but there was only one blanket. At last, late in the evening, the robot sat
        down on the steps by the river, because its spring had almost run out. The cat climbed onto its knees, where the
        warm gears were, turned around three times, and began to purr. The robot listened. The purring had exactly the
        rhythm of a clock that runs well. And in all its drawers of rules it found only one that fitted: put everything
        back where it belongs. So it carried the cat home again, and put it on the workbench, on the left, next to the
        lamp. In the morning the old clockmaker looked at the hairs on his tools, and he looked at the robot, and he
        wanted to say something. But the cat had already begun to purr, and the clocks on the wall, which had never
        agreed in forty years, one after another fell into step with it. The clockmaker put away his pen and his
        complaints, and he fetched a third cup. That is how the story ends.
        """
    ),
    "dragon|king|princess|queen|castle": _told(
        """
        Here is a story about a princess and a dragon. There was once a king who was afraid of only one thing, and that
        was silence. He kept nine trumpeters, four drummers, and a man who did nothing but drop plates. His daughter,
        the princess, liked to read, and so every day she walked a little further to find a quiet place. One day she
        walked so far that she came to the cave of a dragon. The dragon was lying in front of it with a cushion tied
        around its head. Are you by any chance from the castle, asked the dragon. I have not slept since the drummers
        came. The princess said that she was sorry, and that she had the same trouble, and that she had brought
        sandwiches. They ate the sandwiches, and they made a plan. That night, at the very moment when the man was about
        to drop the largest plate, the dragon flew over the castle and breathed out, not fire, but snow. Dragons can do
        that, if they have not slept enough. It snowed until morning. It snowed into the trumpets, and onto the drums,
        and it covered the courtyard like a quilt. The king woke up, and for the first time in his life he heard nothing
        at all. He was terrified, and he sat quite still. And because he sat quite still he began to hear other things.
        He heard the fire tick in the stove. He heard a sparrow shake the snow from its wings. He heard, far away,
        somebody turn a page. He followed that small sound down the stairs and across the yard and up the hill, and
        there he found his daughter, reading aloud to a dragon that was fast asleep. Is it a good book, whispered the
        king. It is very good, whispered the princess. Sit down, we have just come to the middle. And the man with the
        plates was made head of the kitchen, where he never broke one again. That is the end of the story.
        """
    ),
}
"""Long stories, each more than a minute of speech, by what they are about (a pattern)."""

SHORT_STORIES = (
    _told(
        """
        Here is a short one. A snail set out to see the world. After a year it came to the end of the garden, looked
        over the wall, and saw another garden. So big, said the snail, and so much of it is lettuce. Then it turned
        back, to tell everybody.
        """
    ),
    _told(
        """
        Here is a short story. Two raindrops fell from the same cloud. I want to become a river, said the first. I want
        to become tea, said the second. And as they fell upon the same kettle, one of them was very lucky, and the other
        went along.
        """
    ),
)

EXPLANATIONS: dict[str, str] = {
    "echo|cancell?ation|cancell?er|barge": _told(
        """
        Echo cancellation works like this. A microphone in a room hears two things: you, and the loudspeaker that plays
        my voice. I know exactly what I sent to the loudspeaker. So a filter learns how the room changes that sound on
        its way to the microphone, makes a copy of the echo, and subtracts it. What is left over is mostly you. The
        filter has to keep learning, because people move and doors open. And it must stop learning while both of us
        talk, or it would begin to cancel you as well. That is how you can interrupt me, even on a loudspeaker.
        """
    ),
    r"speech recogni\w+|recogni[sz]e": _told(
        """
        Speech recognition works in small steps. The sound is cut into slices of about ten milliseconds, and of each
        slice only the rough shape of its spectrum is kept, a little like the ear does it. One model knows which sounds
        have which shape. A second model knows which words are likely to follow each other. The recogniser searches
        through many thousand possible sentences at once, and keeps only those that fit both models well. While you
        speak, the best one may still change. Only when you pause does it decide.
        """
    ),
    "bicycle|bike|cycle": _told(
        """
        A bicycle stays upright because it is always falling a little, and always being caught. When it leans to the
        left, the front wheel turns to the left as well, partly by itself, because of the slope of the fork. That steers
        the wheels back under your weight. The faster you ride, the quicker this works. The chain does the rest: your
        legs push slowly and strongly, and the gears trade that strength for speed. For its weight, a bicycle is about
        the most efficient way to travel that anybody has found.
        """
    ),
    "rainbow|rain bow": _told(
        """
        A rainbow is sunlight that was sent back by rain. When light enters a drop of water it bends, each colour by a
        different amount. It is reflected at the back of the drop, and it bends once more on the way out. Red comes back
        at about forty-two degrees, and violet at about forty. So all the drops that show you red lie on a circle around
        the shadow of your own head. That means everybody sees a rainbow of their own, and you can never walk to its
        end.
        """
    ),
    "internet|inter net|network": _told(
        """
        The internet is an agreement more than a thing. Every message is cut into small packets, and each packet carries
        an address. Machines called routers pass it on, each knowing only which neighbour is a little closer to the
        goal. Some packets are lost, and some arrive in the wrong order. The computers at both ends count them, sort
        them, and ask again for the missing ones. Nobody is in charge of the whole journey, and that is why it keeps
        working when parts of it fail.
        """
    ),
    "refrigerator|fridge|freezer": _told(
        """
        A refrigerator does not make cold, it carries heat out of a box. A liquid flows through pipes inside the box,
        and boils there, at a very low temperature. Boiling takes heat, just as sweat does on your skin. A pump squeezes
        the vapour, which makes it hot, and sends it to the pipes at the back. There it gives its heat to the kitchen
        and becomes a liquid again. Then the circle begins anew. So if you leave the door open, the kitchen only becomes
        warmer.
        """
    ),
    "tides?|ties": _told(
        """
        The tides come from the moon, and to a lesser part from the sun. The moon pulls at the whole earth, but it pulls
        harder at the near side than at the far side. So the water is stretched a little, into two gentle hills, one
        facing the moon and one facing away from it. The earth turns underneath these hills, and so most coasts see two
        high tides a day. When the sun and the moon pull along the same line, at new moon and at full moon, the tides
        are strongest.
        """
    ),
    "moon": _told(
        """
        The moon is our nearest neighbour, about thirty times the width of the earth away. It was probably made when
        something as large as Mars hit the young earth, and the pieces gathered in orbit. It turns once in every trip
        around us, and so we always see the same face. It has no air and no sound, and footprints there will last for
        millions of years. Every year it moves away from us by about the width of two fingers.
        """
    ),
    "telescopes?": _told(
        """
        A telescope is mostly a bucket for light. A large lens or a curved mirror collects far more light than the eye
        can, and brings all of it together in a small picture. A second lens, the eyepiece, works as a magnifying glass
        for that picture. The larger the mirror, the fainter and the finer are the things you can see. And because light
        takes time to travel, a telescope always looks into the past.
        """
    ),
    "batter(?:y|ies)": _told(
        """
        A battery keeps two materials apart that would like to react with each other. One of them gives away electrons
        easily, the other one wants to have them. Between them is something that lets charged atoms through, but no
        electrons. So the electrons have to take the long way around, through your lamp or your telephone, and there
        they do their work. When everything has reacted the battery is empty. Charging it drives the same reaction
        backwards.
        """
    ),
    "volcanoe?s?": _told(
        """
        A volcano is a place where molten rock finds a way up. Deep down, rock melts, and the melt is lighter than what
        surrounds it, so it rises and collects in a chamber. Gas is dissolved in it, as in a bottle of lemonade. When
        the pressure drops, the gas comes out as bubbles, and the bubbles drive everything upward. If the melt is thin
        it flows out quietly. If it is thick the gas is trapped, until the mountain explodes.
        """
    ),
    "air ?planes?|planes?|aero ?planes?|flying": _told(
        """
        An airplane flies because its wings push air downward. A wing is curved and slightly tilted, so that the air
        which passes it leaves on a lower path than it came. The air is pushed down, and so the wing is pushed up, with
        the same force. The engines only have to overcome the drag. At twice the speed a wing gives four times the lift,
        and that is why an airplane needs a long runway before it can leave the ground.
        """
    ),
    "pianos?": _told(
        """
        A piano is a very clever machine for throwing hammers. When you press a key, a chain of levers throws a small
        felt hammer at two or three steel strings, and lets go of it just before it hits, so that the string can ring.
        The strings hardly move any air. They shake a large wooden board, and that board fills the room. When you let go
        of the key a soft damper falls back onto the strings. All the strings together pull with the weight of about
        three elephants.
        """
    ),
    "light ?houses?|light house": _told(
        """
        A lighthouse makes a small lamp visible for many miles. Around the lamp stands a lens made of rings of glass,
        and each ring bends the light into the same flat beam. The lens turns, and so a sailor sees flashes. Every
        lighthouse has a rhythm of its own, so that one can tell them apart in the dark. Some lenses weighed several
        tons, and floated in a bath of mercury, so that a child could turn them with one finger.
        """
    ),
    "clocks?|watch(?:es)?": _told(
        """
        Every clock needs three things: something that swings evenly, something that keeps it swinging, and something
        that counts. In an old clock a pendulum swings, a falling weight drives it, and a wheel with slanted teeth
        counts. At every swing it lets one tooth pass, and that is the tick you hear. In a wrist watch a tiny fork of
        quartz swings thirty-two thousand times a second. The best clocks count the light of atoms, and would not lose a
        second in the age of the universe.
        """
    ),
    "computers?": _told(
        """
        A computer is made of billions of switches, and each one is either on or off. A few of them together can compare
        two signals, a few more can add two numbers, and some can remember what they were told. A program is a long list
        of very small orders: fetch this, add that, if it is zero then jump over there. The computer follows them one
        after the other, a few billion in a second, and it never wonders why. Everything else, even this conversation,
        is built on top of that.
        """
    ),
    "micro ?phones?|mike": _told(
        """
        A microphone turns moving air into electricity. Sound pushes and pulls at a thin skin. In one kind, the skin
        moves a coil in front of a magnet, and that makes a small current. In another kind, the skin is one of two
        plates with a charge between them, and when the distance changes the voltage changes. The signal is then
        measured many thousand times a second, and each measurement becomes a number. Those numbers are all that I ever
        hear of you.
        """
    ),
    "photo ?synthesis|synthesis": _told(
        """
        Photosynthesis is how plants eat light. In every leaf there is a green pigment, and when light hits it, it loses
        an electron. To replace it, the plant tears water apart, and oxygen is left over. That is the oxygen we breathe.
        With the energy of those electrons it builds sugar, out of water and the carbon dioxide in the air. So a tree is
        not made from the ground it stands in. It is made almost entirely of air, rain and sunshine.
        """
    ),
    "engines?|motors?": _told(
        """
        A petrol engine makes thousands of small explosions in a minute, and each has four steps. A piston goes down and
        draws in air and fuel. It comes up and squeezes them together. A spark lights the mixture, and the hot gas
        drives the piston down with great force. Then it comes up and pushes out the smoke. A bent shaft turns this up
        and down into a rotation, as your legs do on a bicycle. Only about a third of the energy reaches the wheels. The
        rest becomes heat.
        """
    ),
}
"""How things work, by what they are called (a pattern)."""

JOKES = (
    "Why did the robot go on holiday? Because it needed to recharge its batteries.",
    "I asked the librarian for a book about echoes. She said: echoes. Then she said it again.",
    _told(
        """
        A byte walks into a bar, and the waiter asks what is wrong. A parity error, says the byte. Yes, you do look a
        bit off.
        """
    ),
    "What do you call a clock that is always sorry? A minute too late.",
)

POEMS = (
    _told(
        """
        A lamp upon a rock of stone, it turns and turns the whole night long. The ships go by, each one alone, and home
        by morning, led by song.
        """
    ),
    _told(
        """
        I have no face, I have no hand, I have some rules that I obey. But speak, and I shall understand perhaps a half
        of what you say.
        """
    ),
)

RIDDLES = (
    "What has a face and two hands, but no arms and no legs? The answer is a clock.",
    "What can you break without ever touching it? The answer is a promise. Or silence.",
    "What always comes back to you, whatever you call it? The answer is an echo.",
)

FACTS = (
    _told(
        """
        Here is one: the sound of your voice needs about three milliseconds for every metre. A friend three metres away
        hears you about nine milliseconds late.
        """
    ),
    "Did you know that honey does not spoil? Pots of it were found in old graves in Egypt, and it could still be eaten.",
    _told(
        """
        Did you know that an octopus has three hearts? One of them stops beating while it swims, and perhaps that is why
        it prefers to walk.
        """
    ),
)

ABOUT_ME = (
    _told(
        """
        I am not a person, and not even a language model. I am a set of rules that looks for words I know in what you
        said. But the listening, the voice, and the way you can interrupt me are real.
        """
    ),
    _told(
        """
        I am the embedded responder of voicefsm, a set of rules that stands in for a language model. I have no name of
        my own.
        """
    ),
)

HOW_I_WORK = (
    _told(
        """
        While you speak, a recogniser turns your voice into words, piece by piece. When you pause, some rules look for
        words they know, and write an answer, a little at a time. A voice begins to speak the first sentence while the
        rest is still being written. All the while I keep listening, and my own voice is taken out of what the
        microphone hears. If you speak, I stop, and I remember exactly which words you heard.
        """
    ),
)

HELP = (
    _told(
        """
        You can ask me for a long story, a joke or a poem. I can count to fifty, tell you the time, and do sums. I can
        explain how a rainbow works, or a bicycle, or echo cancellation. And you can interrupt me whenever you like.
        """
    ),
    _told(
        """
        Try one of these. Tell me a long story. Explain how a piano works. Count to fifty. What is seven times eight?
        Then interrupt me, and ask what was the last thing I told you.
        """
    ),
)

CANNOT_EXPLAIN = (
    _told(
        """
        I cannot explain that, because I am only a set of rules. I know something about bicycles, rainbows, volcanoes,
        pianos, clocks, and echo cancellation.
        """
    ),
    "That is beyond my rules, I am afraid. Ask me about the tides, the moon, a telescope, or the internet.",
)

CAPITALS = {
    "england": "London",
    "france": "Paris",
    "germany": "Berlin",
    "spain": "Madrid",
    "italy": "Rome",
    "japan": "Tokyo",
    "china": "Beijing",
    "india": "New Delhi",
    "canada": "Ottawa",
    "australia": "Canberra",
    "brazil": "Brasilia",
    "egypt": "Cairo",
    "greece": "Athens",
    "norway": "Oslo",
    "sweden": "Stockholm",
    "russia": "Moscow",
    "mexico": "Mexico City",
}
